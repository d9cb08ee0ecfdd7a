package election

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/internal/line"
)

// Term is one time of leading. It ends once: by Resign or TransferTo, or by loss.
type Term struct {
	election *Election
	hold     *line.Hold
	transfer chan struct{} // has room for the TransferTo that is under way
}

// Context ends with the term: with session.ErrExpired, ErrRevoked or ErrEntryGone when it is lost, with ErrClosed when
// the Session is closed, with ErrNotHeld after Resign; context.Cause tells. It carries the values of Campaign's ctx,
// not its deadline. An entry that somebody deletes by hand is noticed once the term is over a second old.
func (t *Term) Context() context.Context { return t.hold.Context() }

// Token orders the terms of this election: a later term's is larger. Its turn is 0, since a term has an entry of its own, unless the term was
// taken over from an earlier Session (session.WithLease).
func (t *Term) Token() fence.Token { return t.hold.Token(0) }

// Guard is "this very term still stands", for the If of an etcd transaction.
func (t *Term) Guard() []clientv3.Cmp { return t.hold.Guard(0) }

// Asked is closed once somebody wants the term given back: see lock.Lock.Asked.
func (t *Term) Asked() <-chan struct{} { return t.hold.Asked() }

// Deadline is until when the term may be trusted, if no renewal gets through before; the zero time once it has ended.
func (t *Term) Deadline() time.Time { return t.hold.Deadline() }

// Lease is the lease that the term hangs on.
func (t *Term) Lease() clientv3.LeaseID { return t.hold.Lease(0) }

// Key is the entry's key in etcd.
func (t *Term) Key() string { return t.hold.Key(0) }

// Proclaim changes the value that everybody reads. The term, its key and its token stay. Calls follow each other. When
// ctx ends first, it goes on in the background, unless another one was under way. session.ErrLost, ErrNotHeld: the
// term has ended.
func (t *Term) Proclaim(ctx context.Context, value string) error {
	if err := t.hold.Rewrite(ctx, value); err != nil {
		return t.election.failed("proclaim in", err)
	}
	return nil
}

// Resign ends the term; the next candidate leads. It returns an error that wraps session.ErrLost if the term was lost
// before, and ErrNotHeld once it has answered. The request is the Session's own: ctx bounds only how long its answer is
// awaited, and a Resign that failed may be repeated.
func (t *Term) Resign(ctx context.Context) error {
	if err := t.hold.Release(ctx); err != nil {
		return fmt.Errorf("election: resign from %q: %w", t.election.name, err)
	}
	return nil
}
