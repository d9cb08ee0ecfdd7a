package child

import (
	"errors"
	"time"

	"github.com/fenceline/fenceline/session"
)

const (
	// killLead is how long before the deadline SIGKILL goes out: time for a busy machine to end the processes.
	killLead = 100 * time.Millisecond
	// lookAgain bounds every wait, since timers stand still while the machine sleeps and deadlines do not.
	lookAgain = 250 * time.Millisecond
)

// demand is what must happen to the group; each includes those before it.
type demand int

const (
	nothing demand = iota
	terminate
	kill
)

// countdown decides when the group must go.
type countdown struct {
	grace time.Duration
	began time.Time // when terminate was first demanded; zero before
}

// at returns what is demanded at now, and how long that stands if nothing else changes. lost is nil while the hold
// stands. What was demanded is not taken back when a renewal gets through after all: the command is ending already.
func (c *countdown) at(now, deadline time.Time, lost error) (demand, time.Duration) {
	termAt, killAt := deadline.Add(-max(c.grace, killLead)), deadline.Add(-killLead)
	switch {
	case errors.Is(lost, session.ErrExpired):
		termAt, killAt = now, now
	case lost != nil: // the deadline of a hold that is gone means nothing
		termAt, killAt = now, now.Add(c.grace)
	}
	if !c.began.IsZero() {
		termAt = c.began
		if end := c.began.Add(c.grace); end.Before(killAt) {
			killAt = end
		}
	}
	if now.Before(termAt) {
		return nothing, min(termAt.Sub(now), lookAgain)
	}
	if c.began.IsZero() {
		c.began = now
	}
	if now.Before(killAt) {
		return terminate, min(killAt.Sub(now), lookAgain)
	}
	return kill, lookAgain
}
