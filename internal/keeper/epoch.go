package keeper

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Epoch is the life of one lease, or of several as one; see spread.go. What is held, is held under one epoch, and is lost with
// it, for good.
type Epoch struct {
	k      *Keeper
	id     clientv3.LeaseID
	record string // key of the session's record under this lease

	unsure   bool          // a grant was sent, and its answer lost; this and sent are for the keeper's goroutine
	sent     time.Duration // when the last request was sent that etcd acknowledged
	ttl      atomic.Int64  // as granted, in ns
	until    atomic.Int64  // the deadline, on the keeper's clock; only grows
	revision atomic.Int64  // of the record; see Line.enqueue
	seen     atomic.Int64  // the largest that etcd is known to have had
	cluster  atomic.Uint64 // that answers
	doubted  atomic.Bool   // whether it still has that is being asked
	spread   spread
	heritage heritage

	mu      sync.Mutex
	renewed chan struct{}       // closed and replaced at every acknowledged renewal
	holders map[any]func(error) // told of the loss
	cause   error
	done    chan struct{} // closed at the loss
	told    chan struct{} // closed when the holders have been told
}

// ID is its first lease, which the session is known by.
func (e *Epoch) ID() clientv3.LeaseID { return e.id }

// Record is the key of the session's record, RecordRevision when it was written last, as far as we know.
func (e *Epoch) Record() string        { return e.record }
func (e *Epoch) RecordRevision() int64 { return e.revision.Load() }

// RecordWritten notes that the record was written at revision.
func (e *Epoch) RecordWritten(revision int64) {
	raise(&e.revision, revision)
	e.Saw(revision)
}

// Saw notes that etcd was at revision, whichever member has said so.
func (e *Epoch) Saw(revision int64) { raise(&e.seen, revision) }

// Seen is the largest revision that is known. An answer of the quorum to a question that is asked from now on cannot be
// older, unless etcd's history is.
func (e *Epoch) Seen() int64 { return e.seen.Load() }

// Rewound is told by whoever had such an answer: etcd was restored from a backup, and nothing is true any more that rests
// on what came after that.
func (e *Epoch) Rewound(seen, now int64) {
	_ = e.lose(fmt.Errorf("%w: from %d to %d, as after a restore from a backup", ErrRestored, seen, now))
}

// from notes which cluster has answered. Another one than before was restored from a backup, or is no longer the one it was in some other
// way: nothing is true any more.
func (e *Epoch) from(cluster uint64) bool {
	if cluster == 0 || e.cluster.CompareAndSwap(0, cluster) || e.cluster.Load() == cluster {
		return true
	}
	_ = e.lose(fmt.Errorf("%w: cluster %x answers, not %x", ErrRestored, cluster, e.cluster.Load()))
	return false
}

func raise(v *atomic.Int64, to int64) {
	for {
		old := v.Load()
		if old >= to || v.CompareAndSwap(old, to) {
			return
		}
	}
}

// TTL is what etcd granted.
func (e *Epoch) TTL() time.Duration { return time.Duration(e.ttl.Load()) }

// Remaining is the time for which the lease may still be trusted; negative after the deadline.
func (e *Epoch) Remaining() time.Duration {
	return time.Duration(e.until.Load()) - e.k.clock.Elapsed()
}

// Err is nil while the lease may be trusted. It looks at the clock each time: a timer that has not fired yet proves
// nothing in a process that was stopped.
func (e *Epoch) Err() error {
	_, err := e.Fresh()
	return err
}

// Fresh says whether at least a third of the TTL is left, which is what a new hold needs.
func (e *Epoch) Fresh() (bool, error) {
	fresh, _, err := e.Look()
	return fresh, err
}

// Look is Fresh that also tells the time at which it has looked, on the keeper's clock.
func (e *Epoch) Look() (fresh bool, now time.Duration, err error) {
	now = e.k.clock.Elapsed()
	select {
	case <-e.done:
		return false, now, e.cause
	default:
	}
	left := time.Duration(e.until.Load()) - now
	if left <= 0 {
		return false, now, e.lose(ErrExpired)
	}
	return left >= e.TTL()/3, now, nil
}

// Done is closed when the lease is lost; Err says why.
func (e *Epoch) Done() <-chan struct{} { return e.done }

// Gone is told by whoever heard from etcd that the lease does not exist.
func (e *Epoch) Gone() { _ = e.lose(ErrRevoked) } // or of what it was lost before: Err says that

// OnLoss has f called once, in a goroutine of the keeper's, when the lease is lost, also if it is lost already.
// holder must be unique; Forget takes it back. f must not block.
func (e *Epoch) OnLoss(holder any, f func(cause error)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cause != nil {
		e.k.detach(func() { f(e.cause) })
		return
	}
	e.holders[holder] = f
}

// Forget undoes OnLoss, but for a call that is under way.
func (e *Epoch) Forget(holder any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.holders, holder)
}

// Renew asks for a renewal at once and waits for the next acknowledged one.
func (e *Epoch) Renew(ctx context.Context) error {
	e.mu.Lock()
	renewed := e.renewed
	e.mu.Unlock()
	e.k.wakeUp()
	select {
	case <-renewed:
		return nil
	case <-e.done:
		return e.cause
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// granted says whether etcd has ever acknowledged the lease.
func (e *Epoch) granted() bool { return e.until.Load() != 0 }

// extend takes an acknowledged grant or renewal that was sent at t0.
func (e *Epoch) extend(t0, ttl time.Duration) {
	e.sent = t0
	e.ttl.Store(int64(ttl))
	if d := int64(deadline(t0, ttl)); d > e.until.Load() { // only the keeper's goroutine stores
		e.until.Store(d)
	}
	e.mu.Lock()
	close(e.renewed)
	e.renewed = make(chan struct{})
	e.mu.Unlock()
}

// lose ends the epoch, once: first the state, then those who hold under it, then the hooks. It returns the cause
// that was first.
func (e *Epoch) lose(cause error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cause != nil {
		return e.cause
	}
	e.cause = cause
	close(e.done)
	holders := e.holders
	e.holders = nil
	e.k.detach(func() {
		defer close(e.told)
		for _, f := range holders {
			f(cause)
		}
	})
	return cause
}
