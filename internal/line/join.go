package line

import (
	"context"
	"errors"
	"time"

	"github.com/fenceline/fenceline/internal/keeper"
)

// enqueue gets an entry in the line. Its request is not bound to any caller: if nobody wants the entry when the
// answer comes, the next step is to leave again.
func (l *Line) enqueue(ctx context.Context, try bool) error {
	p := l.place
	if p == nil {
		epoch, err := l.epoch(ctx)
		if epoch == nil {
			return err
		}
		p = l.newPlace(epoch)
		l.occupy(p)
	}
	isFirst, err := l.join(ctx, p, nil, try)
	var refused refusal
	switch {
	case l.place != p: // lost meanwhile, and the entry with it
		return nil
	case errors.Is(err, errSlot):
		if p.unsure { // an earlier attempt may be on its way: the next step is to leave
			p.leaving = true
			return nil
		}
		l.forget(p) // and its slot is never ours
		return nil
	case errors.As(err, &refused):
		if p.unsure {
			p.leaving = true
		} else {
			l.vacate(p)
		}
		l.refuse(refused.error)
		return nil
	case errors.Is(err, errOthers):
		if !p.unsure { // as above
			l.vacate(p)
		}
		l.refuseTries()
		return nil
	case err != nil:
		return err
	}
	l.joined(p, isFirst)
	return nil
}

// join sends an enqueue, and notes when its outcome stays unknown.
func (l *Line) join(ctx context.Context, p, old *place, try bool) (isFirst bool, err error) {
	look := l.look()
	err = l.request(ctx, func(ctx context.Context) error {
		err := errAgain
		for errors.Is(err, errAgain) && ctx.Err() == nil {
			isFirst, err = l.sendJoin(ctx, p, old, try, look)
		}
		return err
	})
	switch {
	case err == nil, errors.Is(err, errSlot), errors.Is(err, errOthers), errors.Is(err, keeper.ErrEntryGone), errors.As(err, new(refusal)), leaseGone(err):
	case keeper.Unknown(err):
		p.unsure = true
	}
	return isFirst, err
}

// epoch waits for a lease as long as somebody here wants one.
func (l *Line) epoch(ctx context.Context) (*keeper.Epoch, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		epoch *keeper.Epoch
		err   error
	}
	if e := l.keeper.Current(); e != nil {
		return e, nil
	}
	l.trouble = l.keeper.Healthy()
	l.mu.Unlock()
	defer l.mu.Lock()
	got := make(chan result, 1)
	go func() {
		e, err := l.keeper.Live(ctx)
		got <- result{e, err}
	}()
	select {
	case r := <-got:
		return r.epoch, r.err
	case <-l.wake: // perhaps nobody wants it any more
		cancel()
		r := <-got
		return r.epoch, nil
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
	if f := l.keeper.Hooks.Queued; f != nil && p.count > 1 {
		l.mu.Unlock()
		f(l.kind, l.name, int(p.count-1))
		l.mu.Lock()
		if l.place != p {
			return
		}
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
		if p.count > 0 {
			l.refuseTries()
			l.refuseHopeless()
		}
		p.check = blind || l.situation().try || !l.short(p) && p.pred.Key == "" // nobody will tell when it is our turn
	}
	if p.count > 0 {
		l.length = p.count
		l.refuseFull()
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
	p := l.newPlace(old.epoch)
	for tries := 1; ; tries++ {
		isFirst, err := l.join(ctx, p, old, false)
		var refused refusal
		switch {
		case l.place != old: // lost meanwhile, and the new entry with it
			return nil
		case errors.As(err, &refused) && !p.unsure: // the next step is to leave with the old one
			p.free()
			old.leaving = false
			l.refuse(refused.error)
			return nil
		case errors.Is(err, keeper.ErrEntryGone):
			l.forsake(p)
			l.lose(old, err)
			return nil
		case errors.Is(err, errSlot):
			if p.unsure {
				l.forsake(p)
			}
			p = l.newPlace(old.epoch)
		case err != nil && p.unsure && ctx.Err() == nil:
			l.failed(ctx, err, tries) // which of the two entries stands, only the same request can tell
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
