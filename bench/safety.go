package bench

import (
	"fmt"
	"sync/atomic"

	"github.com/fenceline/fenceline/fence"
)

// Safety counts what must not happen. All zero is the only good value.
type Safety struct {
	Overlaps       int64 `json:"overlaps"`             // holders who found more inside than may be
	LostUpdates    int64 `json:"lost_updates"`         // acquisitions that the counter does not know
	StaleTokens    int64 `json:"stale_tokens"`         // writes that the gate refused
	RepeatedTokens int64 `json:"repeated_tokens"`      // holds that showed the token of the hold before
	TornReads      int64 `json:"torn_reads,omitempty"` // holds shared with others, during which the counter moved
	Early          int64 `json:"early,omitempty"`      // parties through a barrier before all had come
	Flaps          int64 `json:"flaps,omitempty"`      // registrations that went out of sight, or that were seen after they had gone
}

func (s Safety) add(o Safety) Safety {
	return Safety{
		s.Overlaps + o.Overlaps, s.LostUpdates + o.LostUpdates,
		s.StaleTokens + o.StaleTokens, s.RepeatedTokens + o.RepeatedTokens, s.TornReads + o.TornReads,
		s.Early + o.Early, s.Flaps + o.Flaps,
	}
}

// SafetyError says that a subject broke what it is for: it let two in at once, showed tokens that do not grow, or what else
// Safety counts.
type SafetyError struct {
	Subject string
	Cell    Cell
	Safety
}

func (e *SafetyError) Error() string {
	switch {
	case e.Early > 0:
		return fmt.Sprintf("bench: %s DID NOT HOLD BACK in cell %v: %d parties were through before all had come", e.Subject, e.Cell, e.Early)
	case e.Flaps > 0:
		return fmt.Sprintf("bench: %s DID NOT SHOW WHAT WAS THERE in cell %v: %d registrations went out of sight, or were seen after they had gone",
			e.Subject, e.Cell, e.Flaps)
	}
	return fmt.Sprintf("bench: %s DID NOT EXCLUDE in cell %v: %d overlaps, %d lost updates, %d torn reads, %d stale tokens, %d repeated tokens",
		e.Subject, e.Cell, e.Overlaps, e.LostUpdates, e.TornReads, e.StaleTokens, e.RepeatedTokens)
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
