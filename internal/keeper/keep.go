package keeper

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/fenceline/fenceline/internal/chance"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// lookEvery is how often the clock is looked at even if nothing is due: timers stand still while the machine sleeps,
// and what was lost in the meantime should end soon after it wakes.
const lookEvery = time.Second

// answer to a renewal that was sent at t0.
type answer struct {
	t0 time.Duration
	renewal
	seen int64 // when it was sent
	err  error
}

// keep renews e until it is lost or the keeper closed. There is one request at a time, in a goroutine of its own, so
// that neither a loss nor a change of state waits for its answer.
func (k *Keeper) keep(e *Epoch) {
	ctx, cancel := context.WithCancel(k.ctx)
	defer cancel()
	answers, asking := make(chan answer, 1), false
	next := e.sent + e.TTL()/3
	timer := time.NewTimer(0)
	defer timer.Stop()
	for e.Err() == nil {
		k.catchUp()
		now, until := k.clock.Elapsed(), time.Duration(e.until.Load())
		wake := min(now+lookEvery, until)
		if suspect := suspectAt(until, e.TTL()); now < suspect {
			k.setState(Live, nil)
			wake = min(wake, suspect)
		} else {
			k.setState(Suspect, because("session: a renewal is overdue", k.lastTrouble()))
		}
		switch {
		case asking:
		case now < next && !e.wantsMore():
			wake = min(wake, next)
		default:
			asking = true
			k.detach(func() { answers <- k.renew(ctx, e, now) })
		}
		timer.Reset(wake - now)
		select {
		case <-timer.C:
		case <-k.poke:
			next = now
		case a := <-answers:
			asking, next = false, k.answered(e, a)
		case <-e.done:
		case <-ctx.Done():
			return
		}
	}
}

// wakeUp asks for a round of renewals now.
func (k *Keeper) wakeUp() {
	select {
	case k.poke <- struct{}{}:
	default: // it is asked for already
	}
}

func (k *Keeper) renew(ctx context.Context, e *Epoch, t0 time.Duration) answer {
	ctx, cancel := context.WithTimeout(ctx, min(e.TTL()/4, maxRequest))
	defer cancel()
	seen := e.Seen()
	left := e.Remaining()
	r, err := k.renewAll(ctx, e)
	k.renewed(Renewal{Took: k.clock.Elapsed() - t0, Left: left, Err: err})
	k.spreadOut(ctx, e, r.ttl, err)
	return answer{t0, r, seen, err}
}

// answered takes the answer to a renewal, and says when the next is due.
func (k *Keeper) answered(e *Epoch, a answer) time.Duration {
	switch a.err {
	case nil:
		if !e.from(a.cluster) {
			return 0
		}
		e.extend(a.t0, a.ttl)
		k.trouble(nil)
		if a.revision < a.seen {
			k.doubt(e)
		}
		return a.t0 + a.ttl/3
	case ErrRevoked:
		e.Gone()
		return 0
	}
	k.trouble(k.Explain(a.err, k.Namespace))
	if k.watch != nil {
		k.watch.Doubt()
	}
	k.Log.Warn("renewal failed", "lease", keyspace.Lease(e.id), "error", a.err, "left", e.Remaining())
	return k.clock.Elapsed() + e.TTL()/10*time.Duration(80+chance.N(41))/100
}

// askWhenBack asks how far etcd is whenever the connection was lost and is there again: an etcd that was restored from a backup has restarted,
// and once others have written as much as was forgotten, revisions do not show it any more.
func (k *Keeper) askWhenBack(conn *grpc.ClientConn) {
	for state := conn.GetState(); conn.WaitForStateChange(k.ctx, state); {
		state = conn.GetState()
		k.mu.Lock()
		e := k.epoch
		k.mu.Unlock()
		if state == connectivity.Ready && e != nil {
			k.doubt(e)
		}
	}
}

// doubt asks the quorum for its revision: after a renewal was answered by a member that is behind what was seen before, which
// may only lag, or when etcd was away.
func (k *Keeper) doubt(e *Epoch) {
	if e.doubted.Swap(true) {
		return
	}
	k.detach(func() {
		defer e.doubted.Store(false)
		ctx, cancel := context.WithTimeout(k.ctx, min(e.TTL()/4, maxRequest))
		defer cancel()
		seen := e.Seen()
		if now, err := k.leases.Revision(ctx, e.record); err == nil && e.from(now.cluster) && now.revision < seen {
			e.Rewound(seen, now.revision)
		}
	})
}
