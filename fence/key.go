package fence

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// ErrForged says that a signed token was not signed with this Key for this name.
var ErrForged = errors.New("fence: the token is not signed, or not for this name with this key")

// Key signs tokens, with a secret that the holders and the resource share. A token by itself is a number that anybody can make up,
// and a Gate that has once seen the largest number there is refuses every holder of that name from then on. A signed one comes from
// somebody who has the secret. It is no proof that the hold still stands: that is what the Gate is for.
type Key struct{ secret []byte }

// minSecret is as long as the result of the hash: a shorter one is easier to guess than that.
const minSecret = sha256.Size

// NewKey makes a Key of a secret, which is at least 32 bytes long and random.
func NewKey(secret []byte) (*Key, error) {
	if len(secret) < minSecret {
		return nil, fmt.Errorf("fence: the secret has %d bytes: want at least %d", len(secret), minSecret)
	}
	return &Key{slices.Clone(secret)}, nil
}

// Sign is t for name with a signature: the token in decimal, a dot, and HMAC-SHA-256 in base64url.
func (k *Key) Sign(name string, t Token) string {
	return t.String() + "." + base64.RawURLEncoding.EncodeToString(k.mac(name, t))
}

// Verify reads what Sign wrote for that name. ErrForged: it did not. What is no token is ErrInvalidToken.
func (k *Key) Verify(name, text string) (Token, error) {
	number, signature, signed := strings.Cut(text, ".")
	token, err := Parse(number)
	if err != nil {
		return 0, err
	}
	mac, err := base64.RawURLEncoding.Strict().DecodeString(signature)
	if !signed || err != nil || !hmac.Equal(mac, k.mac(name, token)) {
		return 0, fmt.Errorf("%w: %.40q, for %.64q", ErrForged, text, name)
	}
	return token, nil
}

func (k *Key) mac(name string, t Token) []byte {
	h := hmac.New(sha256.New, k.secret)
	h.Write([]byte("fenceline token v1\x00"))
	var n [16]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(name)))
	binary.BigEndian.PutUint64(n[8:], uint64(t))
	h.Write(n[:])
	h.Write([]byte(name))
	return h.Sum(nil)
}

// SetHeader puts t into r, signed for name, in place of a token that is there already.
func (k *Key) SetHeader(r *http.Request, name string, t Token) {
	if r.Header == nil {
		r.Header = http.Header{}
	}
	r.Header.Set(Header, k.Sign(name, t))
}

// Handler is the function of that name, but for tokens that SetHeader of the same Key has put there, for the name that name answers.
// Others are refused with 403, and the Gate does not see them.
func (k *Key) Handler(g *Gate, name func(*http.Request) string, next http.Handler) http.Handler {
	return handler(g, name, k.Verify, next)
}
