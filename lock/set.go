package lock

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/line"
	"github.com/fenceline/fenceline/internal/queue"
	"github.com/fenceline/fenceline/session"
)

// ErrSet: AcquireAll was asked for a set that cannot be.
var ErrSet = errors.New("lock: invalid set")

// Set is a hold on several locks. It is either whole or absent: when one of them is lost, all are.
type Set struct {
	hold  *line.Hold
	ids   []lineID
	locks []*Lock
}

// AcquireAll takes several locks in one etcd transaction: all processes stand in the same order in every line, so that
// no two can wait for each other. A plain Acquire of one of the locks stands in the same line.
//
// The locks must be of one Session and differ from each other; ErrSet says which does not. etcd limits the operations
// of a transaction, 128 unless its --max-txn-ops says otherwise: one for each lock, and one more. A set has entries of
// its own in etcd, apart from those of Acquire: goroutines that want the same set wait in etcd, each for itself, and
// WithHandoffs and WithLinger are of no use to it.
//
// After an error nothing is held and nothing stays queued, as with Acquire. If the lease or one of the entries is lost
// while it waits, all are put in line again, at the back. The value of its entries in etcd says in which lines they stand.
func AcquireAll(ctx context.Context, ms ...*Mutex) (*Set, error) { return acquireAll(ctx, ms, false) }

// TryAcquireAll is AcquireAll that never waits for others: ErrHeld says that somebody holds, or waits for, one of the locks, and then nothing was
// written. HeldError says who. It waits for etcd's answer, within ctx, or 5 s when ctx has no deadline.
func TryAcquireAll(ctx context.Context, ms ...*Mutex) (*Set, error) {
	ctx, cancel := etcd.Bounded(ctx)
	defer cancel()
	return acquireAll(ctx, ms, true)
}

func acquireAll(ctx context.Context, ms []*Mutex, try bool) (*Set, error) {
	s := &Set{}
	var members []line.Member
	if len(ms) == 0 {
		return nil, fmt.Errorf("%w: no locks", ErrSet)
	}
	for i, m := range ms {
		if m == nil {
			return nil, fmt.Errorf("%w: lock %d is nil", ErrSet, i)
		}
		if m.err != nil {
			return nil, m.err
		}
		if m.id.session != ms[0].id.session {
			return nil, fmt.Errorf("%w: %q and %q are of two Sessions", ErrSet, ms[0].name, m.name)
		}
		if j := s.index(m); j >= 0 {
			return nil, fmt.Errorf("%w: %q and %q are the same lock", ErrSet, ms[j].name, m.name)
		}
		s.ids = append(s.ids, m.id)
		members = append(members, line.Member{Ref: &m.ref, Options: &m.opts.Options})
	}
	tellOfSet(members)
	hold, err := line.AcquireAll(ctx, members, try)
	if err != nil {
		return nil, failedSet(ctx, ms, err)
	}
	s.hold = hold
	for i, m := range ms {
		s.locks = append(s.locks, &Lock{hold: hold, part: i, set: true, name: m.name, of: m.id})
	}
	return s, nil
}

// tellOfSet has the entries say in which lines the set stands: who is first in one of them may wait in another.
func tellOfSet(members []line.Member) {
	if len(members) < 2 {
		return
	}
	var prefixes []string
	for _, m := range members {
		prefixes = append(prefixes, m.Prefix)
	}
	value := queue.SetValue(prefixes)
	for i, m := range members {
		policy := m.Policy
		policy.Value = value
		members[i].Ref = &line.Ref{Keeper: m.Keeper, Kind: m.Kind, Name: m.Name, Prefix: m.Prefix, Policy: policy}
	}
}

func failedSet(ctx context.Context, ms []*Mutex, err error) error {
	var one *line.MemberError
	if errors.As(err, &one) {
		return failed("acquire", one.Of.Name, one.Err, func() session.Holder { return one.Of.Who(ctx, one.Err) })
	}
	if waited := (*session.WaitError)(nil); errors.As(err, &waited) {
		return fmt.Errorf("lock: acquire %s: %w, for %q", quoted(ms), err, waited.Name)
	}
	return fmt.Errorf("lock: acquire %s: %w", quoted(ms), err)
}

func quoted(ms []*Mutex) string {
	text := fmt.Sprintf("%q", ms[0].name)
	for i, m := range ms[1:] {
		if i == 3 && len(ms) > 5 {
			return fmt.Sprintf("%s and %d more", text, len(ms)-1-i)
		}
		text += fmt.Sprintf(", %q", m.name)
	}
	return text
}

func (s *Set) index(m *Mutex) int {
	for i, id := range s.ids {
		if id == m.id {
			return i
		}
	}
	return -1
}

// Asked is closed once somebody wants the set given back: see lock.Lock.Asked.
func (s *Set) Asked() <-chan struct{} { return s.hold.Asked() }

// Context ends with the set, as Lock.Context does.
func (s *Set) Context() context.Context { return s.hold.Context() }

// Token orders the sets and holds of each of these locks: it is the same for all of them, since their entries came at one revision. Its turn is
// 0 always.
func (s *Set) Token() fence.Token { return s.hold.Token(0) }

// Deadline is until when the set may be trusted, if no renewal gets through before; the zero time once it has ended.
func (s *Set) Deadline() time.Time { return s.hold.Deadline() }

// Lease is a lease that the set hangs on: that of its first lock. Those of the others may be further ones of the Session, and end with it.
func (s *Set) Lease() clientv3.LeaseID { return s.hold.Lease(0) }

// Lock is the hold on m, nil if m is not in the set. Its Token, Guard and Context are its own; it cannot be released
// by itself.
func (s *Set) Lock(m *Mutex) *Lock {
	if m == nil {
		return nil
	}
	if i := s.index(m); i >= 0 {
		return s.locks[i]
	}
	return nil
}

// Guard is "this very set still stands", one comparison for each lock, for the If of an etcd transaction.
func (s *Set) Guard() []clientv3.Cmp { return s.hold.GuardAll() }

// Release gives all locks back, in one transaction. Its errors and its ctx are as those of Lock.Release.
func (s *Set) Release(ctx context.Context) error {
	if err := s.hold.Release(ctx); err != nil {
		return fmt.Errorf("lock: release the set of %q…: %w", s.locks[0].name, err)
	}
	return nil
}
