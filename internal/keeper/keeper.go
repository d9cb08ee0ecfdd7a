// Package keeper keeps a lease in etcd alive, and takes a new one when it is lost.
//
// A Keeper lives through a sequence of epochs, one lease each. An epoch may be trusted until its deadline, which is
// counted from the moment the last acknowledged renewal was sent, never from when its answer came. Renewals go out at
// a third of the TTL, each with a timeout of its own, and again every tenth of the TTL while they fail. The epoch is
// lost at its deadline, or when etcd says that the lease does not exist; then the next one is fetched, with jittered
// back-off, for as long as the keeper is open.
package keeper

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/internal/watch"
)

// State of a keeper; package session documents the values.
type State int

const (
	Live State = iota
	Suspect
	Down
	Closed
)

// Hooks are called without locks held; any may be nil.
type Hooks struct {
	State    func(from, to State, cause error)
	Queued   func(kind, name string, ahead int)
	Granted  func(kind, name string, waited time.Duration)
	Released func(kind, name string, held time.Duration)
	Lost     func(kind, name string, cause error)
}

// Config is what a Keeper is made of; all fields are required.
type Config struct {
	Client    *clientv3.Client
	TTL       time.Duration
	Namespace string
	Record    string // value of the session's record
	Log       *slog.Logger
	Hooks     Hooks
}

type Keeper struct {
	Config
	leases leases
	clock  Clock
	watch  *watch.Stream

	ctx    context.Context // ends at Close, with ErrClosed
	cancel context.CancelCauseFunc
	poke   chan struct{} // a renewal is wanted now

	mu     sync.Mutex
	epoch  *Epoch        // nil while there is none
	change chan struct{} // closed and replaced when epoch changes
	last   error         // why there is no epoch, or why renewals fail
	state  State
	tables map[any]any
	closed chan struct{} // closed when Close has finished
	active int           // goroutines
	idle   chan struct{} // closed when active is zero after Close began
}

// Open takes the first lease. ctx bounds that; without a deadline it is bounded by five seconds.
func Open(ctx context.Context, cfg Config) (*Keeper, error) {
	conn := cfg.Client.ActiveConnection()
	return open(ctx, cfg, etcdLeases{cfg.Client, pb.NewLeaseClient(conn)}, newSystemClock(), watch.New(pb.NewWatchClient(conn)))
}

func open(ctx context.Context, cfg Config, l leases, clock Clock, w *watch.Stream) (*Keeper, error) {
	k := &Keeper{Config: cfg, leases: l, clock: clock, watch: w, poke: make(chan struct{}, 1),
		change: make(chan struct{}), tables: map[any]any{}, state: Down}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	k.ctx, k.cancel = context.WithCancelCause(context.Background())
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
	}
	e, err := k.grant(ctx)
	if err != nil {
		k.cancel(ErrClosed)
		return nil, err
	}
	k.enter(e)
	k.Go(func(context.Context) { k.run(e) })
	if w != nil {
		k.Go(w.Run)
	}
	return k, nil
}

// run goes from epoch to epoch.
func (k *Keeper) run(e *Epoch) {
	for {
		k.keep(e)
		k.leave(e)
		for wait := k.backoff(0); ; wait = k.backoff(wait) {
			if !k.sleep(wait) {
				return
			}
			next, err := k.grant(k.ctx)
			if err == nil {
				e = next
				k.enter(e)
				break
			}
			k.trouble(err)
			k.Log.Warn("cannot take a new lease", "error", err)
		}
	}
}

// backoff doubles from 50 ms up to 5 s, with jitter, so that a fleet does not come back all at once.
func (k *Keeper) backoff(last time.Duration) time.Duration {
	return min(max(2*last, 50*time.Millisecond), 5*time.Second) * time.Duration(75+rand.IntN(50)) / 100
}

func (k *Keeper) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-k.ctx.Done():
		return false
	}
}

// grant takes a lease and writes the session's record under it. The ID is of our own choice, so that asking again
// after a lost answer asks for the same lease. It tries until ctx ends or etcd refuses.
func (k *Keeper) grant(ctx context.Context) (*Epoch, error) {
	id := clientv3.LeaseID(rand.Int64N(1<<63-1) + 1)
	e := k.newEpoch(id, keyspace.Session(k.Namespace, id))
	err := k.attempt(ctx, func(ctx context.Context) error {
		if e.until.Load() == 0 || e.Err() != nil {
			t0 := k.clock.Elapsed()
			ttl, err := k.leases.Grant(ctx, id, k.TTL)
			if err != nil {
				return err
			}
			e.extend(t0, ttl)
		}
		revision, err := k.leases.Record(ctx, id, e.record, k.Record)
		e.RecordWritten(revision)
		return err
	})
	if err != nil {
		if e.until.Load() != 0 {
			k.detachRevoke(id)
		}
		err = Explain(k.Client, err, k.Namespace)
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", err, context.Cause(ctx))
		}
		return nil, err
	}
	return e, nil
}

// attempt repeats f within ctx until it succeeds or etcd refuses, and answers the last reason.
func (k *Keeper) attempt(ctx context.Context, f func(context.Context) error) error {
	var last error
	for wait := time.Duration(0); ; {
		try, cancel := context.WithTimeout(ctx, k.RequestTimeout())
		err := f(try)
		cancel()
		if err == nil || Final(err) {
			return err
		}
		if last == nil || ctx.Err() == nil { // the reason before the context cut an attempt short says more
			last = err
		}
		wait = min(max(2*wait, 20*time.Millisecond), time.Second)
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return last
		case <-t.C:
		}
	}
}

// RequestTimeout bounds one request to etcd, so that one endpoint that swallows it does not use up the lease.
func (k *Keeper) RequestTimeout() time.Duration { return max(k.TTL/4, 2*time.Second) }

// keep renews e until it is lost.
func (k *Keeper) keep(e *Epoch) {
	next := k.clock.Elapsed() + e.TTL()/3
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		until := time.Duration(e.until.Load())
		suspect := suspectAt(until, e.TTL())
		wake := min(next, until)
		if k.State() == Live {
			wake = min(wake, suspect)
		}
		timer.Reset(wake - k.clock.Elapsed())
		select {
		case <-timer.C:
		case <-k.poke:
			next = 0
		case <-e.done:
			return
		case <-k.ctx.Done():
			return
		}
		if e.Err() != nil {
			return
		}
		t0 := k.clock.Elapsed()
		if t0 >= suspect {
			k.setState(Suspect, k.lastTrouble())
		}
		if t0 < next {
			continue
		}
		// The deadline cuts the call short, so that the loss is not late while an answer is awaited.
		ctx, cancel := context.WithTimeout(k.ctx, min(e.TTL()/4, until-t0))
		ttl, err := k.leases.Renew(ctx, e.id)
		cancel()
		switch {
		case err == nil:
			e.extend(t0, ttl)
			next = t0 + e.TTL()/3
			k.trouble(nil)
			k.setState(Live, nil)
		case err == ErrRevoked:
			e.Gone()
			return
		case k.ctx.Err() != nil:
			return
		default:
			next = k.clock.Elapsed() + e.TTL()/10*time.Duration(80+rand.IntN(40))/100
			k.trouble(Explain(k.Client, err, e.record))
			k.Log.Warn("renewal failed", "lease", keyspace.Lease(e.id), "error", err, "left", e.Remaining())
		}
	}
}

func (k *Keeper) enter(e *Epoch) {
	k.mu.Lock()
	k.epoch, k.last = e, nil
	k.announce()
	k.mu.Unlock()
	k.setState(Live, nil)
}

func (k *Keeper) leave(e *Epoch) {
	cause := e.Err()
	if cause == nil || cause == ErrClosed {
		return
	}
	k.mu.Lock()
	k.epoch, k.last = nil, cause
	k.announce()
	k.mu.Unlock()
	k.setState(Down, cause)
	k.Log.Warn("lease lost", "lease", keyspace.Lease(e.id), "cause", cause)
	if cause != ErrRevoked {
		k.detachRevoke(e.id)
	}
}

// detachRevoke gives a lease back that nobody uses, so that what hangs on it in etcd does not outlive us by a TTL.
func (k *Keeper) detachRevoke(id clientv3.LeaseID) {
	k.detach(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(k.ctx), 2*time.Second)
		defer cancel()
		if err := k.leases.Revoke(ctx, id); err != nil {
			k.Log.Debug("cannot revoke a lost lease; etcd will expire it", "lease", keyspace.Lease(id), "error", err)
		}
	})
}

func (k *Keeper) announce() {
	close(k.change)
	k.change = make(chan struct{})
}

func (k *Keeper) trouble(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last = err
}

func (k *Keeper) lastTrouble() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.last
}

func (k *Keeper) setState(to State, cause error) {
	k.mu.Lock()
	from := k.state
	if from == to || from == Closed {
		k.mu.Unlock()
		return
	}
	k.state = to
	k.mu.Unlock()
	if k.Hooks.State != nil {
		k.Hooks.State(from, to, cause)
	}
}
