package line

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keeper"
)

// ErrOfSet says that a hold cannot be released by itself.
var ErrOfSet = errors.New("it belongs to a Set, which is released as a whole")

// errBroken says that an entry of a Set does not stand any more, or should not, and so the Set does not.
var errBroken = errors.New("line: an entry of the set has gone")

// Member is one line of a Set, with the options for its entry there.
type Member struct {
	*Ref
	*Options
}

// MemberError is the error of one line of a Set.
type MemberError struct {
	Of  *Ref
	Err error
}

func (e *MemberError) Error() string { return fmt.Sprintf("%q: %v", e.Of.Name, e.Err) }
func (e *MemberError) Unwrap() error { return e.Err }

// All is a hold on one or several lines, with entries of its own that came in by one transaction, at one revision. So
// all who hold or wait for several stand in the same order everywhere, and no two can wait for each other. The entries
// are not those of the local lines, and are never handed on.
//
// Each member has a Line of its own, in no table, which is lent its entry: it watches and judges, grants and loses.
// Entering and leaving is done here, for all at once: see enter.go and leave.go.
type All struct {
	keeper  *keeper.Keeper
	caller  context.Context
	epoch   *keeper.Epoch
	parts   []*part
	enqueue keeper.Undoable
	since   time.Time

	waiting context.Context // ends with the caller's, or when a part is lost
	abort   context.CancelCauseFunc

	mu      sync.Mutex
	ended   error        // why; nil while it is held
	fates   []chan error // where Releases read that wait
	leaving bool         // the entries are being deleted
	along   []string     // keys that go with the entries
	gone    *error       // how that ended
	done    bool         // a Release has succeeded, or told of the loss
	ctx     context.Context
	cancel  context.CancelCauseFunc
}

type part struct {
	Member
	line  *Line
	place *place
	wait  *waiter
	hold  *Hold
}

// AcquireAll waits for a hold on all members. After an error nothing is held; when ctx ends it returns at once, and
// the entries are deleted in the background.
func AcquireAll(ctx context.Context, members []Member) (*All, error) {
	began := time.Now()
	k := members[0].Keeper
	for ; ; members = admitted(members) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		a := &All{keeper: k, caller: ctx}
		a.waiting, a.abort = context.WithCancelCause(ctx)
		err := a.enter(members)
		if err == nil {
			err = a.wait()
		}
		if err == nil {
			a.granted(began)
			return a, nil
		}
		a.abort(nil)
		a.leave(errBroken)
		if !errors.Is(err, errBroken) && !errors.Is(err, keeper.ErrLost) {
			return nil, err
		}
	}
}

// admitted are members who may wait, however many do by now.
func admitted(members []Member) []Member {
	in := slices.Clone(members)
	for i := range in {
		in[i].Options = in[i].Options.admitted()
	}
	return in
}

// wait waits for all. Meanwhile the loss of one, granted or not, ends the wait for the others.
func (a *All) wait() error {
	for _, q := range a.parts {
		h, _, err := q.line.await(q.wait)
		if err != nil {
			return err
		}
		q.hold = h
	}
	for {
		if a.waiting.Err() != nil {
			return context.Cause(a.waiting)
		}
		if fresh, err := a.epoch.Fresh(); err != nil || fresh {
			return err
		}
		if err := a.epoch.Renew(a.waiting); err != nil {
			return err
		}
	}
}

// granted is the end of AcquireAll. From here on the loss of one is the loss of all.
func (a *All) granted(began time.Time) {
	a.since = time.Now()
	for _, q := range a.parts {
		if q.MinHold > 0 {
			q.place.restUntil = a.since.Add(q.MinHold)
		}
		a.keeper.Granted(q.Kind, q.Name, a.since.Sub(began))
		q.hold.ends(func() { // with the line's mutex held
			if cause := q.hold.ended; cause != keeper.ErrNotHeld && a.end(cause) {
				for _, q := range a.parts {
					a.keeper.Lost(q.Kind, q.Name, cause)
				}
				a.keeper.Go(func(context.Context) { a.leave(cause) })
			}
		}, nil)
	}
	a.abort(nil)
}

// end marks the hold as over. It answers false if it was before. It may be called with a line's mutex held.
func (a *All) end(cause error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended != nil {
		return false
	}
	a.ended = cause
	a.abort(nil)
	if a.cancel != nil {
		a.cancel(cause)
	}
	return true
}

// check notices a loss that nobody has told of yet.
func (a *All) check() {
	for _, q := range a.parts {
		q.line.mu.Lock()
		q.hold.check()
		q.line.mu.Unlock()
	}
}

// Context ends with the hold.
func (a *All) Context() context.Context {
	a.check()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx == nil {
		ctx, cancel := context.WithCancelCause(context.WithoutCancel(a.caller))
		if a.ended != nil {
			cancel(a.ended)
		}
		a.ctx, a.cancel = allContext{ctx, a}, cancel
	}
	return a.ctx
}

// allContext looks at the clock when it is asked for its error, as holdContext does.
type allContext struct {
	context.Context
	all *All
}

func (c allContext) Err() error {
	if c.Context.Err() == nil {
		c.all.check()
	}
	return c.Context.Err()
}

// Hold is the part of the i-th member.
func (a *All) Hold(i int) *Hold { return a.parts[i].hold }

// Guard says that all entries still stand, in one comparison each: a transaction has room for so many only. None of
// them may ever have been rewritten.
func (a *All) Guard() []clientv3.Cmp {
	var cmps []clientv3.Cmp
	for _, q := range a.parts {
		cmps = append(cmps, q.place.untouched())
	}
	return cmps
}

// Along has a key of ours, on the lease of the first entry, go with the entries, in the same transaction, whenever and however
// they do. It answers false if
// they are on their way out already. Whoever puts that key compares the entries.
func (a *All) Along(key string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended != nil {
		return false
	}
	if !slices.Contains(a.along, key) {
		a.along = append(a.along, key)
	}
	return true
}

// Without is told that such a key is gone.
func (a *All) Without(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if i := slices.Index(a.along, key); i >= 0 {
		a.along = slices.Delete(a.along, i, i+1)
	}
}

// Release deletes all entries in one transaction. The request is the Session's own: ctx bounds only how long its
// answer is awaited. A Release that failed may be repeated: what an earlier one has set going, it waits for.
func (a *All) Release(ctx context.Context) error {
	a.check()
	first := a.end(keeper.ErrNotHeld)
	a.mu.Lock()
	switch {
	case a.done:
		a.mu.Unlock()
		return keeper.ErrNotHeld
	case a.ended != keeper.ErrNotHeld:
		a.done = true
		a.mu.Unlock()
		return a.ended
	}
	fate := make(chan error, 1)
	if a.gone != nil {
		fate <- *a.gone
	}
	a.fates = append(a.fates, fate)
	a.mu.Unlock()
	if first {
		a.park()
		a.leave(keeper.ErrNotHeld)
		a.released()
	}
	err := awaitFate(ctx, fate)
	if err == nil || errors.Is(err, keeper.ErrLost) {
		a.mu.Lock()
		a.done = true
		a.mu.Unlock()
	}
	return err
}

func (a *All) released() {
	for _, q := range a.parts {
		a.keeper.Released(q.Kind, q.Name, time.Since(a.since))
	}
}

// settle tells those who wait in Release.
func (a *All) settle(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, fate := range a.fates {
		fate <- err
	}
	a.fates = slices.Delete(a.fates, 0, len(a.fates))
}
