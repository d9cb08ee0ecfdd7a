package semaphore

import (
	"context"
	"errors"
	"fmt"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/internal/line"
	"github.com/fenceline/fenceline/internal/meter"
	"github.com/fenceline/fenceline/internal/since"
	"github.com/fenceline/fenceline/session"
)

// Errors of this package, beside those of ctx and of package session.
var (
	// ErrLimit: the name is in use with another limit, or with none. errors.As gives *LimitError.
	ErrLimit = errors.New("semaphore: limit")
	// ErrTooMany: more units than the limit, or not a positive number.
	ErrTooMany = errors.New("semaphore: impossible number of units")
	// ErrExhausted: not enough units are free (TryAcquire). errors.As gives *ExhaustedError.
	ErrExhausted = errors.New("semaphore: exhausted")
)

// LimitError says which two limits differ. Stored is 0 if there is none.
type LimitError struct {
	Name         string
	Stored, Want int64
}

// Error names all three.
func (e *LimitError) Error() string {
	switch {
	case e.Want < 0:
		return fmt.Sprintf("semaphore: %q: limit %d: it must be positive, or 0 to accept the stored one", e.Name, e.Want)
	case e.Stored == 0:
		return fmt.Sprintf("semaphore: %q: no limit is stored, and none is given", e.Name)
	}
	return fmt.Sprintf("semaphore: %q has limit %d, not %d", e.Name, e.Stored, e.Want)
}

// Unwrap is ErrLimit.
func (e *LimitError) Unwrap() error { return ErrLimit }

// Semaphore is safe for concurrent use, and may be shared or made again at will.
type Semaphore struct {
	name   string
	want   int64
	keeper *keeper.Keeper
	prefix string
	err    error // why it cannot be used
}

// New does no I/O. limit is stored with the name by whoever comes first; 0 accepts what is stored. An invalid name or
// limit is an error of the first verb.
func New(s *session.Session, name string, limit int64) *Semaphore {
	k := keeper.Of(s)
	m := &Semaphore{name: name, want: limit, keeper: k, prefix: keyspace.Line(k.Namespace, "semaphore", name)}
	if err := keyspace.CheckName("semaphore", name); err != nil {
		m.err = err
	} else if limit < 0 {
		m.err = &LimitError{Name: name, Want: limit}
	}
	return m
}

// Acquire waits until n units are free and everybody before it has had its turn. If the lease is lost while it waits,
// it queues again under the next one, at the back. The same if somebody deletes its entry.
//
// After an error nothing is held and nothing stays queued: when ctx ends Acquire returns at once, and the Session
// deletes the entry in the background. ErrTooMany: n is not positive, or more than the limit; a limit that is stored is
// known after the first answer. ErrLimit: another limit is stored. When ctx ended, a *session.WaitError says who was ahead,
// if that is known.
func (m *Semaphore) Acquire(ctx context.Context, n int64) (*Permit, error) {
	if err := m.check(n); err != nil {
		return nil, err
	}
	call := m.call(ctx, n, false)
	return m.got(call, func() (*Permit, error) { return lanesOf(m.keeper).local(m).acquire(call, m, n) })
}

func (m *Semaphore) call(ctx context.Context, n int64, try bool) *keeper.Call {
	return m.keeper.Call(ctx, keeper.Wait{Kind: "semaphore", Name: m.name, Units: n, Try: try})
}

// TryAcquire never waits for others: ErrExhausted says that fewer than n units are free, or that somebody waits for
// units, and then nothing was written. ExhaustedError names up to three who hold: each costs a read the first time. It waits
// for etcd's answers, within ctx, or 5 s when ctx has no deadline.
func (m *Semaphore) TryAcquire(ctx context.Context, n int64) (*Permit, error) {
	ctx, cancel := etcd.Bounded(ctx)
	defer cancel()
	if err := m.check(n); err != nil {
		return nil, err
	}
	call := m.call(ctx, n, true)
	return m.got(call, func() (*Permit, error) { return m.tryAcquire(call, n) })
}

func (m *Semaphore) tryAcquire(call *keeper.Call, n int64) (*Permit, error) {
	ctx := call.Ctx
	for {
		read, err := m.read(ctx)
		if err != nil {
			return nil, err
		}
		lo := lanesOf(m.keeper).local(m)
		read.local = lo.wanted()
		switch limit, ok := m.limit(read); {
		case !ok:
			return nil, &LimitError{m.name, read.limit, m.want}
		case n > limit:
			return nil, tooMany(m.name, n, limit)
		case read.total()+n > limit:
			return nil, m.exhausted(ctx, read, n, limit)
		}
		p, err := lo.try(call, m, n, read.revision)
		if !errors.Is(err, errMoved) {
			return p, err
		}
	}
}

// errMoved: somebody has come since the line was read.
var errMoved = errors.New("semaphore: the line has changed")

func (m *Semaphore) check(n int64) error {
	switch {
	case m.err != nil:
		return m.err
	case n <= 0 || m.want > 0 && n > m.want:
		return tooMany(m.name, n, m.want)
	}
	return nil
}

func tooMany(name string, n, limit int64) error {
	if n <= 0 {
		return fmt.Errorf("%w: %q: %d, it must be positive", ErrTooMany, name, n)
	}
	return fmt.Errorf("%w: %q: %d, its limit is %d", ErrTooMany, name, n, limit)
}

// got makes a permit m's own, or its error, and tells of it.
func (m *Semaphore) got(call *keeper.Call, acquire func() (*Permit, error)) (*Permit, error) {
	p, err := acquire()
	if err == nil {
		p.of = m
		p.hold.GrantedTo(call)
		return p, nil
	}
	call.Failed(err, outcomeOf(err))
	if errors.Is(err, ErrTooMany) || errors.Is(err, ErrExhausted) {
		return nil, err
	}
	return nil, m.failed("acquire", err)
}

func outcomeOf(err error) meter.Outcome {
	switch {
	case errors.Is(err, ErrExhausted):
		return meter.Held
	case errors.Is(err, ErrTooMany), errors.Is(err, ErrLimit):
		return meter.Limit
	}
	return keeper.OutcomeOf(err)
}

func (m *Semaphore) failed(verb string, err error) error {
	return fmt.Errorf("semaphore: %s %q: %w", verb, m.name, err)
}

// Do runs fn while holding n units. fn's ctx ends with the caller's or with the permit, whichever is first. The units
// are given back after fn has returned, or panicked, never before. Do returns fn's error, joined with the loss if the
// permit was lost meanwhile: then fn's last steps may have run over the limit.
func (m *Semaphore) Do(ctx context.Context, n int64, fn func(ctx context.Context, p *Permit) error) (err error) {
	ctx = since.Owned(ctx)
	p, err := m.Acquire(ctx, n)
	if err != nil {
		return err
	}
	inside, stop := line.Inside(ctx, p.Context())
	defer func() {
		stop()
		if lost := p.Release(ctx); lost != nil && (errors.Is(lost, session.ErrLost) || errors.Is(lost, session.ErrClosed)) {
			err = errors.Join(err, lost)
		}
	}()
	if inside.Err() != nil { // before it could begin: the process was stopped, say
		return context.Cause(inside)
	}
	return m.keeper.Labelled(inside, "semaphore", m.name, func(ctx context.Context) error { return fn(ctx, p) })
}
