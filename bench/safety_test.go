package bench

import (
	"testing"

	"github.com/fenceline/fenceline/fence"
)

func TestTwoInsideAreAnOverlapAndALostUpdate(t *testing.T) {
	var x exclusion
	first := x.enter()
	second := x.enter()
	x.leave(first)
	x.leave(second)
	x.leave(x.enter())
	if x.overlaps.Load() != 1 || x.count.Load() != 2 {
		t.Errorf("%d overlaps and a count of %d after three holds, two at once", x.overlaps.Load(), x.count.Load())
	}
}

func TestGateCountsStaleAndRepeatedTokens(t *testing.T) {
	var f fenced
	for _, token := range []fence.Token{3, 5, 4, 5, 6} {
		f.write("name", token)
	}
	if f.stale.Load() != 1 || f.repeated != 1 {
		t.Errorf("%d stale, %d repeated; want 1 and 1", f.stale.Load(), f.repeated)
	}
}
