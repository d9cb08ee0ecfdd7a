package fence

import (
	"errors"
	"fmt"
	"sync"
)

// ErrStale says that a newer holder has been here. errors.As gives *StaleError.
var ErrStale = errors.New("fence: token is older than one already seen")

// ErrInvalidToken says that a token is zero or negative, which no hold has.
var ErrInvalidToken = errors.New("fence: invalid token")

// StaleError is what a Gate refuses with.
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

// Gate remembers the highest tokens per name, in memory. The zero value is ready; it is safe for concurrent use. It
// keeps a few words for each name, for ever, and begins anew with the process: what must outlast that belongs in
// the resource's own storage.
type Gate struct {
	mu    sync.Mutex
	names map[string]*marks
}

// marks are two, because concurrent readers have different tokens, which must not refuse each other.
type marks struct {
	sync.RWMutex
	write Token // the highest writer's: a read must reach it

	seen sync.Mutex // guards any
	any  Token      // the highest of all: a write must reach it
}

// Do runs write if token is not older than any seen for name, and lets no other write or read of that name in
// meanwhile. It answers write's error. A token counts as seen from then on, also if write fails.
func (g *Gate) Do(name string, token Token, write func() error) error {
	m, err := g.enter(name, token)
	if err != nil {
		return err
	}
	m.Lock()
	defer m.Unlock()
	if token < m.any {
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
		m = &marks{}
		g.names[name] = m
	}
	return m, nil
}
