package barrier

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/chance"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/mirror"
)

// Pass is a party's place in a round that was full. It ends once: by Leave, or by loss.
type Pass struct {
	party *party
	name  string
	round round
	ctx   context.Context
	end   context.CancelCauseFunc
	over  *account

	mu   sync.Mutex
	left bool
}

func newPass(call *keeper.Call, p *party, name string, r round) *Pass {
	ctx, end := context.WithCancelCause(context.WithoutCancel(call.Ctx))
	call.Granted(p.parties - 1)
	over := &account{party: p, call: call, end: end}
	p.epoch.OnLoss(p, func(cause error) {
		end(cause)
		over.once.Do(func() { call.Over(cause) })
	})
	pass := &Pass{party: p, name: name, round: r, end: end, over: over}
	pass.ctx = passContext{ctx, pass}
	runtime.AddCleanup(pass, dropped, over)
	return pass
}

// account tells once how a Pass has ended.
type account struct {
	party *party
	call  *keeper.Call
	end   context.CancelCauseFunc // of the Pass's ctx
	once  sync.Once
}

func (a *account) released() {
	a.once.Do(func() { a.call.Over(nil) })
}

// dropped leaves for a party that cannot, since it has forgotten its Pass. Somebody may wait for the end of its ctx all the
// same: a channel keeps no Pass.
func dropped(a *account) {
	p := a.party
	p.at.keeper.Soon(func(context.Context) {
		a.end(keeper.ErrNotHeld)
		if !p.leaves.Swap(true) {
			a.released()
			p.out(nil)
		}
	})
}

// out takes the entry away.
func (p *party) out(tell func(error)) {
	alive, cancel := p.alive()
	defer cancel(nil)
	p.epoch.Forget(p)
	p.leave(alive, func(err error) {
		if err == keeper.ErrEntryGone {
			err = p.whyGone(alive)
		}
		if tell != nil {
			tell(err)
		}
	})
}

// Round counts the rounds of this name that were full, from 1. It is the same for all parties of a round.
func (p *Pass) Round() int64 { return p.round.Number }

// Context ends with the Pass: with session.ErrExpired or ErrRevoked when the lease is lost, and the others take this
// party for dead; with session.ErrClosed when the Session is closed; with session.ErrNotHeld after Leave, also when
// nobody refers to the Pass any more, who could call it.
// context.Cause tells. It carries the values of Enter's ctx, not its deadline.
func (p *Pass) Context() context.Context { return p.ctx }

// passContext looks at the clock when it is asked for its error: in a process that was stopped, that question can
// come before the timer that ends the context.
type passContext struct {
	context.Context
	pass *Pass
}

func (c passContext) Err() error {
	if c.Context.Err() == nil {
		if err := c.pass.party.epoch.Err(); err != nil {
			c.pass.end(err)
		}
	}
	return c.Context.Err()
}

// Deadline is until when the pass may be trusted, if no renewal gets through before; the zero time once it has ended.
func (p *Pass) Deadline() time.Time {
	if p.ctx.Err() != nil {
		return time.Time{}
	}
	return time.Now().Add(p.party.epoch.Remaining())
}

// Lease is the lease that the pass hangs on.
func (p *Pass) Lease() clientv3.LeaseID { return p.party.lease }

// Leave takes this party out of the round, and waits until all others have left it, or died. The next round does not
// wait for that. When ctx ends, this party has left all the same, and only the wait is over; also if ctx had ended
// before.
//
// session.ErrLost: the lease was lost before; the others took this party for dead. session.ErrEntryGone: somebody
// deleted its entry. session.ErrNotHeld: the second time. session.ErrClosed: the Session was closed.
func (p *Pass) Leave(ctx context.Context) error {
	if err := p.leave(ctx); err != nil {
		return fmt.Errorf("barrier: leave %q: %w", p.name, err)
	}
	return nil
}

func (p *Pass) leave(ctx context.Context) error {
	p.mu.Lock()
	again := p.left
	p.left = true
	p.mu.Unlock()
	q := p.party
	k := q.at.keeper
	switch {
	case k.Context().Err() != nil:
		return k.Closed()
	case again:
		return keeper.ErrNotHeld
	}
	if err := q.epoch.Err(); err != nil {
		p.end(err)
		return err
	}
	p.end(keeper.ErrNotHeld)
	p.over.released()
	told := make(chan error, 1)
	q.leaves.Store(true)
	if !k.Go(func(context.Context) { q.out(func(err error) { told <- err }) }) {
		return k.Closed()
	}
	select {
	case err := <-told:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return p.others(ctx)
}

// others waits for them. It follows one at a time, any, until that is gone: to hear of each would cost the round as
// many events as there are pairs, and this costs a party only as many reads as its number has bits.
func (p *Pass) others(ctx context.Context) error {
	ctx, cancel := p.party.at.keeper.WhileOpen(ctx)
	defer cancel()
	for seen := p.party.seen; ; {
		left := p.stillIn(seen)
		if len(left) == 0 {
			return nil
		}
		var err error
		if seen, err = p.outlast(ctx, left[chance.N(len(left))], seen); err != nil {
			return err
		}
	}
}

// outlast waits until one is gone, and returns who is in then.
func (p *Pass) outlast(ctx context.Context, one entry, seen snapshot) (snapshot, error) {
	at := p.party.at
	s := newSight()
	defer mirror.FollowPart(at.keeper, mirror.Keys{Key: one.key}, mirror.Prefix(at.prefix), s).Stop()
	err := s.until(ctx, at.keeper, at.prefix, noPause, func(n news) (done bool, err error) {
		if n.revision > seen.rev {
			if seen, err = at.snapshot(n.kvs, n.revision); err != nil {
				return false, err
			}
		}
		if events := len(n.events); events > 0 {
			err = at.keeper.Retry(ctx, ctx, at.prefix, func(try context.Context) (err error) {
				seen, err = at.readAt(try, max(n.events[events-1].Kv.ModRevision, seen.rev))
				return err
			})
		}
		return !seen.stands(one.create), err
	})
	return seen, err
}

// stillIn are the others of the round that are.
func (p *Pass) stillIn(s snapshot) []entry {
	var in []entry
	for _, e := range s.in {
		if slices.Contains(p.round.In, e.create) && e.create != p.party.create {
			in = append(in, e)
		}
	}
	return in
}
