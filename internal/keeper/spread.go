package keeper

import (
	"context"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/fenceline/fenceline/internal/chance"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// Under a user who is not root, etcd checks the permission on every key of a lease before it puts one more there: 0.7 ms at
// 256 keys, 3 ms at 1 000, 25 ms at 10 000. So an epoch spreads its entries over further leases. To others each of them
// looks like another session with the same record: it has a copy of it, by which a death is told from a release. They are
// renewed together: the deadline counts from the first request of a round that was acknowledged as a whole. And they are lost
// together.
const (
	roomy    = 128       // entries on a lease, from which on another is asked for
	crowded  = 2 * roomy // from which on one waits until it is there, or cannot be had now
	mostNew  = 32        // leases that are asked for at a time
	together = 64        // requests at a time: one goes slowly through a proxy
)

// leasehold is a lease of an epoch.
type leasehold struct {
	id      clientv3.LeaseID
	record  string // key of the session's record under this lease
	entries int    // which hang on it, or will
}

// spread is over which leases the entries of an epoch go.
type spread struct {
	mu      sync.Mutex
	leases  []*leasehold // the first is the epoch's own
	waiting int          // who finds all of them crowded
	wanted  bool         // more of them
	tried   *attempt     // the next, or the one under way, to have more
}

// attempt is one to have further leases.
type attempt struct {
	over chan struct{}
	err  error // valid once it is over
}

func (k *Keeper) newLeasehold() *leasehold {
	id := clientv3.LeaseID(chance.N(1<<63-1) + 1)
	return &leasehold{id: id, record: keyspace.Session(k.Namespace, id)}
}

// Take is a lease of the epoch's on which there is room for one more entry, until Give. While all are crowded it waits for
// another, but no longer than one attempt to have one takes: too many entries on a lease are slow, and nothing worse.
func (e *Epoch) Take(ctx context.Context) clientv3.LeaseID {
	s := &e.spread
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.emptiest().entries >= crowded && ctx.Err() == nil {
		a := s.want()
		s.waiting++
		s.mu.Unlock()
		e.k.wakeUp()
		select {
		case <-a.over:
		case <-e.done:
		case <-ctx.Done():
		}
		s.mu.Lock()
		s.waiting--
		if a.failed() || e.lost() {
			break
		}
	}
	return e.fill(s.emptiest())
}

// TryTake is Take that does not wait: it says whether there is room.
func (e *Epoch) TryTake() (clientv3.LeaseID, bool) {
	e.spread.mu.Lock()
	defer e.spread.mu.Unlock()
	l := e.spread.emptiest()
	if l.entries >= crowded {
		return clientv3.NoLease, false
	}
	return e.fill(l), true
}

func (e *Epoch) fill(l *leasehold) clientv3.LeaseID {
	if l.entries++; l.entries%roomy == 0 {
		e.spread.want()
		e.k.wakeUp()
	}
	return l.id
}

// Again counts one more entry on a lease that Take has chosen before.
func (e *Epoch) Again(id clientv3.LeaseID) { e.count(id, 1) }

// Give says that an entry for which Take has chosen that lease is gone.
func (e *Epoch) Give(id clientv3.LeaseID) { e.count(id, -1) }

func (e *Epoch) count(id clientv3.LeaseID, more int) {
	e.spread.mu.Lock()
	defer e.spread.mu.Unlock()
	for _, l := range e.spread.leases {
		if l.id == id {
			l.entries = max(l.entries+more, 0)
		}
	}
}

// Has says whether that is a lease of the epoch's.
func (e *Epoch) Has(id clientv3.LeaseID) bool {
	e.spread.mu.Lock()
	defer e.spread.mu.Unlock()
	return slices.ContainsFunc(e.spread.leases, func(l *leasehold) bool { return l.id == id })
}

func (e *Epoch) leases() []*leasehold {
	e.spread.mu.Lock()
	defer e.spread.mu.Unlock()
	return slices.Clone(e.spread.leases)
}

func (e *Epoch) lost() bool {
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}

func (a *attempt) failed() bool {
	select {
	case <-a.over:
		return a.err != nil
	default:
		return false
	}
}

func (s *spread) emptiest() *leasehold {
	return slices.MinFunc(s.leases, func(a, b *leasehold) int { return a.entries - b.entries })
}

// want has the next round of renewals ask for more leases.
func (s *spread) want() *attempt {
	if s.tried == nil {
		s.tried = &attempt{over: make(chan struct{})}
	}
	s.wanted = true
	return s.tried
}

func (e *Epoch) wantsMore() bool {
	e.spread.mu.Lock()
	defer e.spread.mu.Unlock()
	return e.spread.wanted
}

// missing is how many leases there should be in addition.
func (s *spread) missing() int {
	entries := s.waiting
	for _, l := range s.leases {
		entries += l.entries
	}
	if s.waiting == 0 && s.emptiest().entries < roomy {
		return 0
	}
	return min(max((entries+roomy-1)/roomy-len(s.leases), 1), mostNew)
}

// spreadOut asks for further leases if they are wanted. It belongs to a round of renewals, after the others were renewed: so
// none of the new ones can end before what the round promises. renewed is how the round went: without etcd there is no use.
func (k *Keeper) spreadOut(ctx context.Context, e *Epoch, least time.Duration, renewed error) {
	s := &e.spread
	s.mu.Lock()
	a, n := s.tried, s.missing()
	wanted := s.wanted
	s.wanted, s.tried = false, nil
	s.mu.Unlock()
	if !wanted {
		return
	}
	defer close(a.over)
	if a.err = renewed; renewed != nil {
		return
	}
	fresh := make([]*leasehold, n)
	for i := range fresh {
		fresh[i] = k.newLeasehold()
	}
	all, each := errgroup.WithContext(ctx)
	all.SetLimit(together)
	for _, l := range fresh {
		all.Go(func() error {
			ttl, err := k.leases.Grant(each, l.id, k.TTL)
			if err == nil && ttl < least {
				err = ErrRevoked
			}
			if err == nil {
				_, err = k.leases.Record(each, l.id, l.record, k.recordOf(e, l.id))
			}
			return err
		})
	}
	if a.err = all.Wait(); a.err != nil {
		k.Log.Debug("no further lease for the entries of a session", "error", a.err)
		k.detachRevoke(fresh)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.lost() { // whoever gives the leases back may have looked already
		k.detachRevoke(fresh)
		return
	}
	s.leases = append(s.leases, fresh...)
	k.witnessed(fresh, k.TTL)
}

// renewAll is one round. It says the least that any of the answers says, and nothing if one is missing.
func (k *Keeper) renewAll(ctx context.Context, e *Epoch) (least renewal, err error) {
	leases := e.leases()
	if len(leases) == 1 {
		return k.leases.Renew(ctx, e.id)
	}
	answers := make([]renewal, len(leases))
	var all errgroup.Group
	all.SetLimit(together)
	for i, l := range leases {
		all.Go(func() (err error) {
			answers[i], err = k.leases.Renew(ctx, l.id)
			return err
		})
	}
	if err := all.Wait(); err != nil {
		return renewal{}, err
	}
	least = answers[0]
	for _, a := range answers[1:] {
		least.ttl, least.revision = min(least.ttl, a.ttl), min(least.revision, a.revision)
	}
	return least, nil
}

// onEach has f called for all of them, some at a time, and returns the first error.
func onEach(leases []*leasehold, f func(*leasehold) error) error {
	var all errgroup.Group
	all.SetLimit(together)
	for _, l := range leases {
		all.Go(func() error { return f(l) })
	}
	return all.Wait()
}
