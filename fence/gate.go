package fence

import (
	"container/list"
	"errors"
	"fmt"
	"sync"
)

// ErrStale says that a newer holder has been here. errors.As gives *StaleError.
var ErrStale = errors.New("fence: token is older than one already seen")

// ErrInvalidToken says that a token is zero or negative, which no hold has, or that a text is no token.
var ErrInvalidToken = errors.New("fence: invalid token")

// StaleError is what stale tokens are refused with.
type StaleError struct {
	Name           string
	Token, Highest Token // the one refused, and the one that it is older than
}

// Error names the three.
func (e *StaleError) Error() string {
	return fmt.Sprintf("fence: %q: token %d is older than %d, already seen", e.Name, e.Token, e.Highest)
}

// Unwrap is ErrStale.
func (e *StaleError) Unwrap() error { return ErrStale }

// Gate remembers the highest tokens per name, in memory. It is safe for concurrent use, and begins anew with the
// process: what must outlast that belongs in the resource's own storage, see SQL.
//
// The zero value is ready. It keeps a few words for each name it has ever seen, for ever, which suits names that a
// programmer has written down; where names come from data, NewGate with WithMaxNames bounds them.
type Gate struct {
	maxNames int   // 0: no bound
	err      error // why it cannot be used

	mu    sync.Mutex
	names map[string]*marks
	idle  list.List // the *marks nobody is inside of, the latest in front; empty without a bound
	floor struct{ write, any Token }
}

// marks are two, because concurrent readers have different tokens, which must not refuse each other.
type marks struct {
	name   string
	inside int           // calls that run or wait to; guarded by Gate.mu, not counted without a bound
	place  *list.Element // in Gate.idle; nil while somebody is inside

	sync.RWMutex
	write Token // the highest writer's: a read must reach it
	floor Token // what any began with: it may be another name's

	seen sync.Mutex // guards any
	any  Token      // the highest of all: a write must reach it
}

// Do runs write if token is not older than any seen for name, and lets no other write or read of that name in
// meanwhile. It returns write's error. A token counts as seen from then on, also if write fails or panics. A call for
// the same name from inside write would wait for itself.
func (g *Gate) Do(name string, token Token, write func() error) error {
	m, err := g.enter(name, token)
	if err != nil {
		return err
	}
	defer g.leave(m)
	m.Lock()
	defer m.Unlock()
	if token < m.any {
		if token < m.floor {
			// Without the bound this writer might have been let in. Readers older than it are over in either case.
			m.write = max(m.write, token)
		}
		return &StaleError{name, token, m.any}
	}
	m.any, m.write = token, token
	return write()
}

// Read is Do for a read hold: refused if a newer write holder has been here. It raises what later writers must beat,
// not what other readers must; reads of one name run side by side.
func (g *Gate) Read(name string, token Token, read func() error) error {
	m, err := g.enter(name, token)
	if err != nil {
		return err
	}
	defer g.leave(m)
	m.RLock()
	defer m.RUnlock()
	if token < m.write {
		return &StaleError{name, token, m.write}
	}
	m.seen.Lock()
	m.any = max(m.any, token)
	m.seen.Unlock()
	return read()
}

func (g *Gate) enter(name string, token Token) (*marks, error) {
	if g == nil {
		return nil, errNilGate
	}
	if g.err != nil {
		return nil, g.err
	}
	if token <= 0 {
		return nil, fmt.Errorf("%w: %q: token %d: want a positive number", ErrInvalidToken, name, token)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	m, ok := g.names[name]
	if !ok {
		if g.names == nil {
			g.names = map[string]*marks{}
		}
		m = &marks{name: name, write: g.floor.write, any: g.floor.any, floor: g.floor.any}
		g.names[name] = m
	}
	if g.maxNames > 0 {
		g.occupy(m)
	}
	return m, nil
}

// A Gate that is not there must not let everything in, and a panic would reach the caller's users.
var errNilGate = errors.New("fence: nil Gate: the zero Gate and NewGate's are ready")
