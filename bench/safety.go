package bench

import (
	"fmt"
	"sync/atomic"

	"github.com/fenceline/fenceline/fence"
)

// Safety counts what must not happen. All zero is the only good value.
type Safety struct {
	Overlaps       int64 `json:"overlaps"`        // holders who found somebody inside
	LostUpdates    int64 `json:"lost_updates"`    // acquisitions that the counter does not know
	StaleTokens    int64 `json:"stale_tokens"`    // writes that the gate refused
	RepeatedTokens int64 `json:"repeated_tokens"` // holds that showed the token of the hold before
}

func (s Safety) add(o Safety) Safety {
	return Safety{
		s.Overlaps + o.Overlaps, s.LostUpdates + o.LostUpdates,
		s.StaleTokens + o.StaleTokens, s.RepeatedTokens + o.RepeatedTokens,
	}
}

// SafetyError says that a subject let two in at once, or showed tokens that do not grow.
type SafetyError struct {
	Subject string
	Cell    Cell
	Safety
}

func (e *SafetyError) Error() string {
	return fmt.Sprintf("bench: %s DID NOT EXCLUDE in cell %v: %d overlaps, %d lost updates, %d stale tokens, %d repeated tokens",
		e.Subject, e.Cell, e.Overlaps, e.LostUpdates, e.StaleTokens, e.RepeatedTokens)
}

// exclusion is what the holders of one trial write without any other lock than the one under test.
//
// The counter is an ordinary variable as far as exclusion goes: read on entry, written on exit, and whoever is inside
// at the same time loses an update. Load and Store are atomic one by one so that a lock that fails gives a wrong
// count and not undefined behaviour, and so that the race detector, which cannot see a hand-over that goes through
// etcd, has nothing to say about one that works.
type exclusion struct {
	inside   atomic.Int32
	count    atomic.Int64
	overlaps atomic.Int64
}

func (x *exclusion) enter() (count int64) {
	if x.inside.Add(1) != 1 {
		x.overlaps.Add(1)
	}
	return x.count.Load()
}

func (x *exclusion) leave(count int64) {
	x.count.Store(count + 1)
	x.inside.Add(-1)
}

// fenced is the resource of a fenced trial: it takes writes only through the gate, which also guards its fields.
type fenced struct {
	gate     fence.Gate
	last     fence.Token
	repeated int64
	stale    atomic.Int64
}

// write offers one write under token.
func (f *fenced) write(name string, token fence.Token) {
	err := f.gate.Do(name, token, func() error {
		if token == f.last {
			f.repeated++
		}
		f.last = token
		return nil
	})
	if err != nil {
		f.stale.Add(1)
	}
}
