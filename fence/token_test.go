package fence_test

import (
	"encoding/json"
	"testing"

	"github.com/fenceline/fenceline/fence"
)

func TestTokenIsRevisionAndTurn(t *testing.T) {
	for _, c := range []struct {
		revision int64
		turn     int
		text     string
	}{{1, 0, "4096"}, {1, fence.Turns - 1, "8191"}, {2, 0, "8192"}, {118144, 7, "483917831"}, {1 << 40, 4095, "4503599627374591"}} {
		token := fence.TokenAt(c.revision, c.turn)
		if token.Revision() != c.revision || token.Turn() != c.turn || token.String() != c.text {
			t.Errorf("revision %d, turn %d: %v, which is revision %d, turn %d, want %s", c.revision, c.turn, token, token.Revision(), token.Turn(), c.text)
		}
		if again, err := fence.Parse(token.String()); again != token || err != nil {
			t.Errorf("%v is parsed as %v, %v", token, again, err)
		}
		var number float64 // as JavaScript and Lua read it
		text, _ := json.Marshal(token)
		if err := json.Unmarshal(text, &number); err != nil || fence.Token(number) != token {
			t.Errorf("%v as a float is %f, %v", token, number, err)
		}
	}
	if last, next := fence.TokenAt(7, fence.Turns-1), fence.TokenAt(8, 0); last >= next {
		t.Errorf("the last token of an entry is %v, the first of the next %v", last, next)
	}
}
