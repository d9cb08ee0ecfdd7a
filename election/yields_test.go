package election

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/internal/queue"
)

// lineOf has candidates of these priorities, in order; "?" is a stranger, who knows of none.
func lineOf(text string) (line []queue.Entry) {
	for i, word := range strings.Fields(text) {
		key := "p/stranger"
		var priority int
		if word != "?" {
			fmt.Sscan(word, &priority)
			key = keyspace.Entry("p/", 7, i+1) + keyspace.PrioritySuffix(priority)
		}
		line = append(line, queue.Entry{Key: key, Create: int64(i + 1)})
	}
	return line
}

func TestWhoeverIsOutrankedYieldsInTurn(t *testing.T) {
	const stays, soon, next, now = queue.Stays, queue.YieldsSoon, queue.YieldsNext, queue.YieldsNow
	for text, want := range map[string][]queue.Yielding{
		"0":         {stays},
		"0 0 0":     {stays, stays, stays},
		"0 1":       {now, stays}, // nobody leads, or the first one does: then it is not asked
		"9 1 2 3":   {stays, soon, next, stays},
		"9 3 2 1":   {stays, stays, stays, stays},
		"9 1 1 2":   {stays, next, soon, stays}, // in their order
		"9 -1 0":    {stays, next, stays},
		"9 1 ? 2":   {stays, next, next, stays}, // nobody waits for a stranger, who does not know of this
		"5 1 2 9 8": {now, soon, next, stays, stays},
	} {
		line := lineOf(text)
		for i, e := range line {
			if got := yields("p/", line, e); got != want[i] && !strings.HasSuffix(e.Key, "stranger") {
				t.Errorf("%q: entry %d: %d, want %d", text, i, got, want[i])
			}
		}
	}
}

// Each step aside, when it is its turn, and one is moved at a time: all stand in order after as many moves as there are who have to.
func TestEachYieldsOnceAndAllStandInOrder(t *testing.T) {
	line := lineOf("99 1 2 3 4 5 6 7 8 9")
	moves := 0
	for revision := int64(100); ; revision++ {
		at := -1
		for i, e := range line {
			if yields("p/", line, e) == queue.YieldsNext {
				if at >= 0 {
					t.Fatalf("%v and %v are next at once", line[at], e)
				}
				at = i
			}
		}
		if at < 0 {
			break
		}
		e := line[at]
		e.Create = revision
		line = append(append(line[:at:at], line[at+1:]...), e)
		moves++
	}
	for i := 1; i < len(line); i++ {
		if keyspace.Priority(line[i].Key) > keyspace.Priority(line[i-1].Key) {
			t.Errorf("not in order: %v", line)
		}
	}
	if moves != 8 {
		t.Errorf("%d moves, want 8", moves)
	}
}
