package line

import (
	"context"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
)

// drive does one step after the other until there is nothing to do. There is at most one driver per line, and all
// requests about the line's place are its own, so that they follow each other. It holds the mutex but for the time
// of requests and waits; whatever it finds afterwards may have changed.
func (l *Line) drive(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tries = 0
	for ctx.Err() == nil {
		var err error
		step := next(l.situation())
		if step == rest || step == wait && !l.place.check {
			l.driving = false
			l.settled()
			return
		}
		switch step {
		case grant:
			if !l.grant() {
				err = l.renew(ctx)
			}
		case enqueue:
			err = l.enqueue(ctx, false)
		case try:
			err = l.enqueue(ctx, true)
		case wait:
			err = l.ask(ctx)
		case inquire:
			err = l.inquire(ctx)
		case survey:
			err = l.survey(ctx)
		case swap:
			err = l.swap(ctx)
		case rewriting:
			err = l.rewrite(ctx)
		case park:
			err = l.park(ctx)
		case drop:
			err = l.drop(ctx)
		}
		switch {
		case err == nil:
			l.tries, l.trouble = 0, nil
			continue
		case ctx.Err() != nil:
			continue
		}
		l.tries++
		l.failed(ctx, err)
	}
	l.driving = false
	l.refuse(l.keeper.Closed())
	if l.place != nil {
		l.lose(l.place, l.keeper.Closed())
	}
	l.closeView()
	l.closeSide()
	l.retire()
}

// failed is told of a request that did not succeed. What etcd refuses is the end for all who wait here; the rest is
// tried again after a while.
func (l *Line) failed(ctx context.Context, err error) {
	if etcd.LeaseGone(err) && l.place != nil {
		l.place.epoch.Gone()
		l.lose(l.place, keeper.ErrRevoked)
		return
	}
	if p := l.place; p != nil {
		if cause := p.epoch.Err(); cause != nil {
			l.lose(p, cause)
			return
		}
	}
	explained := l.keeper.Explain(err, l.prefix)
	if etcd.Final(err) {
		l.refuse(explained)
		if p := l.place; p != nil {
			p.settle(explained)
			if p.state == asked && !p.enqueue.Unknown() {
				l.vacate(p)
				return
			}
		}
	}
	l.trouble = explained
	l.keeper.Log.Debug("request failed", "kind", l.kind, "name", l.name, "error", explained)
	l.sleep(ctx, etcd.Prompt.Wait(l.tries), l.place)
}

// vacate drops a place that etcd is known not to have, nor to get.
func (l *Line) vacate(p *place) {
	l.forget(p)
	if !l.lent { // whether anything is still on its way, the lender knows
		p.free()
	}
}

// forget drops a place.
func (l *Line) forget(p *place) {
	p.epoch.Forget(p)
	if p.dog != nil {
		p.dog.Stop()
	}
	if p.timer != nil {
		p.timer.Stop()
	}
	if l.place == p {
		l.place = nil
		l.distrust()
		if l.linger != nil {
			l.linger.Stop()
		}
	}
	if l.lent {
		l.refuse(errBroken)
		l.broken()
	}
}

// sleep waits without the mutex, less long if the place is lost meanwhile.
func (l *Line) sleep(ctx context.Context, d time.Duration, p *place) {
	var lost <-chan struct{}
	if p != nil {
		lost = p.epoch.Done()
	}
	l.mu.Unlock()
	defer l.mu.Lock()
	etcd.SleepUnless(ctx, d, lost)
}

// request runs f without the mutex and with a bound on one request.
func (l *Line) request(ctx context.Context, f func(context.Context) error) error {
	bound := l.keeper.Patience(l.tries)
	l.mu.Unlock()
	defer l.mu.Lock()
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	return f(ctx)
}

// renew gets the lease a full TTL before a grant.
func (l *Line) renew(ctx context.Context) error {
	p := l.place
	return l.request(ctx, p.epoch.Renew)
}

// drop leaves the line.
func (l *Line) drop(ctx context.Context) error {
	p := l.place
	p.leaving = true
	err := l.request(ctx, func(ctx context.Context) error { return l.leave(ctx, p) })
	if l.place != p {
		return nil
	}
	if err != nil && !errors.Is(err, keeper.ErrLost) {
		return err
	}
	p.settle(err)
	l.vacate(p)
	return nil
}

// forsake leaves with a place that the line does not know any more: its entry may stand all the same, or an enqueue may
// be on its way.
func (l *Line) forsake(p *place) {
	l.keeper.Go(func(ctx context.Context) {
		over := func(err error) bool { return errors.Is(err, keeper.ErrLost) || etcd.LeaseGone(err) }
		err := etcd.Retry{Client: l.keeper.Client, Backoff: etcd.Prompt, Within: l.keeper.Patience, Done: p.epoch.Done(), Hopeless: over}.
			Do(ctx, func(ctx context.Context) error { return l.leave(ctx, p) })
		if err == nil || over(err) {
			p.free()
		}
	})
}

// rarely is how long an entry waits at most without etcd being asked.
const rarely = time.Minute

// watchdog asks etcd about p after a while, if the view has not told anything until then: a connection that has died
// in silence tells nothing. Each time it waits for twice as long: that a stream answers, and its watches do not tell, is rare, and whoever
// has waited long is late by no more than that.
func (l *Line) watchdog(p *place) {
	p.dog = time.AfterFunc(etcd.Jitter(min(l.keeper.Silence()<<min(p.asks, 10), max(l.keeper.Silence(), rarely))), func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.place == p && p.state == queued {
			p.check, p.quorum, p.asks = true, true, p.asks+1
			l.proceed()
		}
	})
}

// ask confirms p's turn, or finds out who is before it.
func (l *Line) ask(ctx context.Context) error {
	p := l.place
	quorum := p.quorum
	var resp *clientv3.GetResponse
	var rev int64
	if l.view != nil {
		rev = l.view.rev
	}
	p.check, p.quorum = false, false
	unchanged := false
	err := l.request(ctx, func(ctx context.Context) (err error) {
		if unchanged, err = l.stillBehind(ctx, p, quorum); unchanged || err != nil {
			return err
		}
		resp, err = l.confirm(ctx, p, rev, quorum)
		return err
	})
	if l.place != p || p.state != queued {
		return nil
	}
	told := p.check // meanwhile
	if err != nil {
		p.check, p.quorum = true, p.quorum || quorum
		return err
	}
	if quorum {
		l.watchdog(p)
	}
	if unchanged {
		l.refuseTries()
		l.refuseHopeless()
		return nil
	}
	at := resp.Header.Revision
	entries := entriesOf(resp.Kvs)
	v, by := l.rule.judge(at, entries, p.entry)
	if view := l.view; view != nil && view.deaf() && view.ready && (v == granted || v == blocked) {
		view.adopt(at, ahead(entries, p.entry), p.entry)
	}
	switch v {
	case granted:
		if quorum && !told { // the watch should have
			l.keeper.Watch().Restart()
		}
		l.note(nil, at)
		l.enter(p)
	case undecided: // what was read is not older than the entry, unless etcd's history is
		l.rewound(p, at)
	case gone:
		l.vanished(p)
	case blocked:
		l.refuseTries()
		l.refuseHopeless()
		if quorum && !told && p.pred.Key != "" && by.Key != p.pred.Key && l.view != nil && l.view.key == p.pred.Key {
			l.keeper.Watch().Restart()
		}
		p.blockedBy(by, &l.rule, entries)
		l.changed() // the view may know this one already
	}
	return nil
}
