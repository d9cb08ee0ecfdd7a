package fence

import (
	"fmt"
	"strconv"
)

// Token orders the holders of one name: a later holder's token is larger than any token an earlier holder has
// seen. It is the create revision of the holder's entry in etcd. Zero is no token.
type Token int64

// String is the decimal form, which Parse reads.
func (t Token) String() string { return strconv.FormatInt(int64(t), 10) }

// Parse reads what String wrote, and no other spelling. A token is a positive decimal number; anything else is an
// ErrInvalidToken that shows the text.
func Parse(text string) (Token, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 || Token(n).String() != text {
		return 0, fmt.Errorf("%w: %.64q: want a positive decimal number", ErrInvalidToken, text)
	}
	return Token(n), nil
}
