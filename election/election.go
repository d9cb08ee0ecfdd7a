package election

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/line"
	"github.com/fenceline/fenceline/session"
)

// Errors of this package, beside those of ctx and of package session.
var (
	// ErrNotLeader: this Election does not lead (IsLeader).
	ErrNotLeader = errors.New("election: not the leader")
	// ErrUnhealthy: the check of WithHealth failed. It is the cause of the ctx of Lead's function.
	ErrUnhealthy = errors.New("election: unhealthy")
	// ErrTransfer: the term cannot be handed to that candidate.
	ErrTransfer = errors.New("election: cannot transfer")
)

// Election is a candidate of this process, or several of them. It is safe for concurrent use.
type Election struct {
	name   string
	opts   options
	keeper *keeper.Keeper
	prefix string
	err    error // why it cannot be used

	term atomic.Pointer[Term] // the last one won
}

// New does no I/O. An invalid name or option is an error of the first verb.
func New(s *session.Session, name string, opts ...Option) *Election {
	e := &Election{name: name, keeper: keeper.Of(s)}
	for _, opt := range opts {
		opt.election(&e.opts)
	}
	e.prefix, e.err = e.opts.at(e.keeper.Namespace, name)
	return e
}

// Campaign waits to lead, and returns a Term that etcd confirms, or an error and no candidacy left behind. Each call
// is a candidate of its own, with an entry in etcd whose value is value: calls of one process wait for each other, too.
//
// In a Session that goes on under an earlier one's lease (session.WithLease), the first Campaign takes over the entry that stands there,
// and so goes on leading.
//
// If the lease is lost while it waits, or somebody deletes its entry, it stands again at the back of the line. When ctx
// ends it returns at once, and the entry is deleted in the background, also one whose enqueue is still on its way. The
// error then wraps ctx's cause and, if etcd could not be reached, the reason; else, if that is known, a *session.WaitError in
// it says who leads. session.ErrClosed: the Session was closed. A refusal by etcd (permission, space, the size of value) is an error at once.
func (e *Election) Campaign(ctx context.Context, value string) (*Term, error) {
	if e.err != nil {
		return nil, e.err
	}
	ref := &line.Ref{Keeper: e.keeper, Kind: "election", Name: e.name, Prefix: e.prefix, Policy: e.policy(value)}
	hold, err := line.AcquireAll(ctx, []line.Member{{Ref: ref, Options: &line.Options{}}}, false)
	if err != nil {
		return nil, e.failed("campaign in", err)
	}
	if hold.Inherited() {
		if err := hold.Rewrite(ctx, value); err != nil {
			_ = hold.Release(ctx) // goes on in the background
			return nil, e.failed("campaign in", err)
		}
	}
	t := &Term{election: e, hold: hold, transfer: make(chan struct{}, 1)}
	t.hold.Key(0) // its entry is nobody else's ever: a term that was resigned still knows it
	e.term.Store(t)
	return t, nil
}

func (e *Election) failed(verb string, err error) error {
	return fmt.Errorf("election: %s %q: %w", verb, e.name, err)
}

// Leading says whether a term that this Election has won stands. It looks at the clock, and asks nobody.
func (e *Election) Leading() bool {
	t := e.term.Load()
	return e.err == nil && t != nil && t.Context().Err() == nil
}

// IsLeader looks at memory and the clock, and asks nobody: it returns nil while a term that this Election has won stands, else
// ErrNotLeader. With it, an Election is an Elector of gocron. It needs somebody to stand: Lead or Campaign.
func (e *Election) IsLeader(context.Context) error {
	if e.err != nil {
		return e.err
	}
	if !e.Leading() {
		return fmt.Errorf("%w of %q", ErrNotLeader, e.name)
	}
	return nil
}
