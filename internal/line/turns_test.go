package line

import (
	"math/rand/v2"
	"testing"

	"github.com/fenceline/fenceline/fence"
)

// Whoever is asked while he is the last has a turn of his own, larger than all before; whoever is asked later has one that is not larger than
// that of anybody who came after him, nor smaller than that of anybody before.
func TestTurnsAreInTheOrderOfGrantsHoweverTheyAreAsked(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		var ts turns
		of := map[int]int{}
		ask := func(number int, inTime bool) {
			if _, asked := of[number]; asked {
				return
			}
			turn := ts.of(number)
			for other, theirs := range of {
				if other < number && theirs > turn || other > number && theirs < turn || inTime && theirs == turn {
					t.Fatalf("seed %d: grant %d has turn %d, grant %d has %d", seed, number, turn, other, theirs)
				}
			}
			of[number] = turn
		}
		for range 300 {
			last := ts.grant()
			if r.IntN(3) > 0 {
				ask(last, true)
			}
			if r.IntN(4) == 0 {
				ask(r.IntN(last+1), false)
			}
		}
	}
}

func TestEntryHasTurnsForAsManyAsAreAskedInTime(t *testing.T) {
	var ts turns
	for i := range ownTurns {
		if ts.full() {
			t.Fatalf("full after %d", i)
		}
		if turn := ts.of(ts.grant()); turn != i {
			t.Fatalf("grant %d has turn %d", i, turn)
		}
	}
	if !ts.full() {
		t.Error("there are more turns than a token has room for")
	}
	var unasked turns
	for range 10 * fence.Turns {
		unasked.grant()
	}
	if unasked.full() {
		t.Error("grants that nobody has asked use up an entry")
	}
	if first, second := unasked.of(unasked.grant()), unasked.of(unasked.grant()); first != 1 || second != 2 || unasked.of(7) != 0 {
		t.Errorf("turns %d, %d", first, second)
	}
}
