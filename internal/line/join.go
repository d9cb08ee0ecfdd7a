package line

import (
	"context"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
)

// enqueue gets an entry in the line. Its request is not bound to any caller: if nobody wants the entry when the
// answer comes, the next step is to leave again.
func (l *Line) enqueue(ctx context.Context, try bool) error {
	p := l.place
	if p == nil {
		epoch, lease, err := l.epoch(ctx)
		if epoch == nil {
			return err
		}
		p = l.newPlace(epoch, lease)
		l.occupy(p)
	}
	isFirst, err := l.join(ctx, p, nil, try)
	var refused refusal
	switch {
	case l.place != p: // lost meanwhile, and the entry with it
		return nil
	case errors.Is(err, errSlot):
		if p.enqueue.Unknown() { // an earlier attempt may be on its way: the next step is to leave
			p.leaving = true
			return nil
		}
		l.forget(p) // and its slot is never ours
		return nil
	case errors.As(err, &refused):
		if p.enqueue.Unknown() {
			p.leaving = true
		} else {
			l.vacate(p)
		}
		l.refuse(refused.error)
		return nil
	case errors.Is(err, errOthers):
		if !p.enqueue.Unknown() { // as above
			l.vacate(p)
		}
		l.refuseTriesAs(p.others)
		return nil
	case err != nil:
		return err
	}
	l.joined(p, isFirst)
	return nil
}

// join sends an enqueue.
func (l *Line) join(ctx context.Context, p, old *place, try bool) (isFirst bool, err error) {
	look := l.look()
	p.asked = l.keeper.Elapsed()
	err = l.request(ctx, func(ctx context.Context) error {
		err := etcd.Again
		for errors.Is(err, etcd.Again) && ctx.Err() == nil {
			isFirst, err = l.sendJoin(ctx, p, old, try, look)
		}
		return err
	})
	return isFirst, err
}

// epoch waits for a lease with room for an entry, as long as somebody here wants one.
func (l *Line) epoch(ctx context.Context) (*keeper.Epoch, clientv3.LeaseID, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		epoch *keeper.Epoch
		lease clientv3.LeaseID
		err   error
	}
	if e := l.keeper.Current(); e != nil {
		if lease, ok := e.TryTake(); ok {
			return e, lease, nil
		}
	}
	l.trouble = l.keeper.Healthy()
	l.mu.Unlock()
	defer l.mu.Lock()
	got := make(chan result, 1)
	go func() {
		r := result{}
		if r.epoch, r.err = l.keeper.Live(ctx); r.epoch != nil {
			r.lease = r.epoch.Take(ctx)
		}
		got <- r
	}()
	select {
	case r := <-got:
		return r.epoch, r.lease, r.err
	case <-l.wake: // perhaps nobody wants it any more
		cancel()
		r := <-got
		return r.epoch, r.lease, nil
	}
}

// occupy makes p the line's place.
func (l *Line) occupy(p *place) {
	l.place = p
	p.epoch.OnLoss(p, func(cause error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lose(p, cause)
		l.proceed()
	})
}

// joined takes up an entry that etcd has confirmed.
func (l *Line) joined(p *place, isFirst bool) {
	if p.count > 1 {
		l.keeper.Queued(l.kind, l.name, int(p.count-1))
	}
	p.state = queued
	blind := false
	if v := l.view; v != nil && v.end != "" && v.ready {
		blind = v.deaf() && !v.adoptJoin(p)
		if v.rev >= p.entry.Create {
			l.note(v.entries, v.rev) // it has heard more than the enqueue's answer tells
		}
	}
	if isFirst {
		l.enter(p)
	} else {
		l.watchdog(p)
		l.wonder(p)
		if p.count > 0 {
			l.refuseTries()
			l.refuseHopeless()
		}
		p.check = blind || l.situation().try || !l.short(p) && p.pred.Key == "" // nobody will tell when it is our turn
	}
	p.epoch.Saw(p.entry.Create)
	l.others = report{p: p, asked: p.asked, revision: p.entry.Create}
	if p.count > 0 {
		l.length = p.count
		l.refuseFull()
	}
	if isFirst && p.count == 1 && l.rule.Joins == nil {
		l.others.answer = no
	}
	l.changed() // the view may have passed our entry before the answer came
}

// enter notes that p's turn has come.
func (l *Line) enter(p *place) {
	p.state, p.check = first, false
	if p.dog != nil {
		p.dog.Stop()
	}
	time.AfterFunc(time.Second, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.place == p {
			p.old = true
			l.adjustView()
		}
	})
}

// swap leaves with the one entry and joins with another, in one transaction.
func (l *Line) swap(ctx context.Context) error {
	old := l.place
	old.leaving = true
	p := l.another(old)
	p.departed, p.diedAt = old.departed, old.diedAt // whoever takes over later has to fear the same
	for {
		isFirst, err := l.join(ctx, p, old, false)
		var refused refusal
		switch {
		case l.place != old: // lost with its lease meanwhile, and the new entry with it
			p.free()
			return nil
		case errors.As(err, &refused) && !p.enqueue.Unknown(): // the next step is to leave with the old one
			p.free()
			old.leaving = false
			l.refuse(refused.error)
			return nil
		case errors.Is(err, keeper.ErrEntryGone):
			l.giveUp(p)
			l.lose(old, err)
			return nil
		case errors.Is(err, errSlot):
			if p.enqueue.Unknown() {
				l.forsake(p)
			}
			p = l.another(old)
		case err != nil && p.enqueue.Unknown() && etcd.Final(err): // whichever stands is given back
			l.forsake(p)
			old.left = true
			return nil
		case err != nil && p.enqueue.Unknown() && ctx.Err() == nil:
			l.tries++
			l.failed(ctx, err) // which of the two entries stands, only the same request can tell
		case err != nil && etcd.Final(err): // what cannot be exchanged can be given back
			p.free()
			return nil
		case err != nil:
			p.free()
			old.leaving = false
			return err
		default:
			old.epoch.Forget(old)
			old.free()
			old.settle(nil)
			l.occupy(p)
			l.joined(p, isFirst)
			return nil
		}
	}
}

// giveUp lets go of a place of which at most an enqueue is on its way.
func (l *Line) giveUp(p *place) {
	if p.enqueue.Unknown() {
		l.forsake(p)
		return
	}
	p.free()
}
