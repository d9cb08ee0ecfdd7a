package bench

import (
	"testing"

	"github.com/fenceline/fenceline/fence"
)

func TestGateCountsStaleAndRepeatedTokens(t *testing.T) {
	var f fenced
	for _, token := range []fence.Token{3, 5, 4, 5, 6} {
		f.write("name", token)
	}
	if f.stale.Load() != 1 || f.repeated != 1 {
		t.Errorf("%d stale, %d repeated; want 1 and 1", f.stale.Load(), f.repeated)
	}
}
