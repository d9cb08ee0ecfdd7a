package semaphore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/fenceline/fenceline/internal/who"
	"github.com/fenceline/fenceline/session"
)

// mostNamed is how many holders a refusal names.
const mostNamed = 3

// ExhaustedError says how many units are taken, and by whom.
type ExhaustedError struct {
	Name    string
	Limit   int64
	Taken   int64            // units that are held or waited for
	Want    int64            // units that do not fit
	Holders []session.Holder // three at most of those who hold, first come first
	Holding int              // how many do
}

// Error says all of it.
func (e *ExhaustedError) Error() string {
	text := fmt.Sprintf("%v: %q: %d of %d units are held or waited for, %d do not fit", ErrExhausted, e.Name, e.Taken, e.Limit, e.Want)
	if by := e.By(); by != "" {
		text += ": held by " + by
	}
	return text
}

// By names those who hold, in a few words; empty if nobody is known to.
func (e *ExhaustedError) By() string {
	var who []string
	for _, h := range e.Holders {
		if name := h.String(); !slices.Contains(who, name) { // a session may hold several permits
			who = append(who, name)
		}
	}
	if more := e.Holding - len(e.Holders); more > 0 && len(who) > 0 {
		who = append(who, fmt.Sprintf("%d more", more))
	}
	if n := len(who); n > 1 {
		return strings.Join(who[:n-1], ", ") + " and " + who[n-1]
	}
	return strings.Join(who, "")
}

// Unwrap is ErrExhausted.
func (e *ExhaustedError) Unwrap() error { return ErrExhausted }

func (m *Semaphore) exhausted(ctx context.Context, r *reading, n, limit int64) error {
	holding := r.entries[:in(r.entries, limit)]
	named := holding[:min(len(holding), mostNamed)]
	return &ExhaustedError{Name: m.name, Limit: limit, Taken: r.total(), Want: n, Holding: len(holding),
		Holders: who.Holders(ctx, m.keeper, m.prefix+lineDir, named, session.Holds)}
}
