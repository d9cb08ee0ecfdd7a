package fence_test

import (
	"bytes"
	"errors"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/fenceline/fenceline/fence"
)

func key(t *testing.T, fill byte) *fence.Key {
	t.Helper()
	k, err := fence.NewKey(bytes.Repeat([]byte{fill}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestOnlyWhatWasSignedForThatNameIsVerified(t *testing.T) {
	k := key(t, 1)
	signed := k.Sign("orders", 7)
	if got, err := k.Verify("orders", signed); got != 7 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	for what, text := range map[string]string{
		"another number": strings.Replace(signed, "7.", "8.", 1),
		"unsigned":       "7",
		"empty":          "7.",
		"cut off":        signed[:len(signed)-1],
		"with more":      signed + "A",
		"changed":        signed[:len(signed)-2] + "__",
		"another key's":  key(t, 2).Sign("orders", 7),
		"another name's": k.Sign("order", 7),
		"moved":          k.Sign("orders7", 7),
	} {
		if got, err := k.Verify("orders", text); got != 0 || !errors.Is(err, fence.ErrForged) {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
	for _, text := range []string{"", ".", "x." + signed, "-7.x", "0." + signed[2:]} {
		if _, err := k.Verify("orders", text); !errors.Is(err, fence.ErrInvalidToken) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := fence.NewKey(make([]byte, 31)); err == nil || !strings.Contains(err.Error(), "31 bytes") {
		t.Errorf("a short secret: %v", err)
	}
}

func TestForgedTokenClosesNothing(t *testing.T) {
	k := key(t, 1)
	h := k.Handler(&fence.Gate{}, byPath, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	send := func(token string) int { return serve(h, request("/a", token)).StatusCode }
	if got := send(k.Sign("a", 5)); got != 200 {
		t.Errorf("signed: %d", got)
	}
	for _, forged := range []string{fence.Token(math.MaxInt64).String(), k.Sign("b", math.MaxInt64)} {
		if got := send(forged); got != 403 {
			t.Errorf("forged: %d", got)
		}
	}
	if got := send("nonsense"); got != 400 {
		t.Errorf("no token: %d", got)
	}
	r := request("/a")
	k.SetHeader(r, "a", 6)
	if got := serve(h, r).StatusCode; got != 200 {
		t.Errorf("the next: %d", got)
	}
	if got := send(k.Sign("a", 5)); got != 409 {
		t.Errorf("an old one: %d", got)
	}
}
