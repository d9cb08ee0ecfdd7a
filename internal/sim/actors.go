package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/barrier"
	"github.com/fenceline/fenceline/cron"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/registry"
	"github.com/fenceline/fenceline/semaphore"
	"github.com/fenceline/fenceline/session"
)

// kind is what an actor does in one turn. It returns when it has given back what it took.
type kind struct {
	name string
	turn func(a *actor)
}

var allKinds = []kind{
	{"mutex", (*actor).mutex}, {"rwlock", (*actor).rwlock}, {"set", (*actor).set}, {"semaphore", (*actor).semaphore}, {"election", (*actor).election},
	{"lead", (*actor).lead}, {"barrier", (*actor).barrier}, {"gate", (*actor).gate}, {"latch", (*actor).latch}, {"registry", (*actor).registry}, {"cron", (*actor).cron},
}

// actor is one goroutine of a process.
type actor struct {
	s       *scenario
	process *process
	id      int
	name    string
	r       *rand.Rand
	kind    string // of the turn
	doing   atomic.Pointer[string]
}

func (a *actor) session() *session.Session { return a.process.session }

// topic is one of the names of this kind.
func (a *actor) topic() string { return a.kind + strconv.Itoa(a.r.IntN(a.s.plan.names)) }

// patience is a ctx that may end before what it is for.
func (a *actor) patience() (context.Context, context.CancelFunc) {
	if a.r.IntN(3) == 0 {
		return context.WithTimeout(a.process.ctx, time.Duration(a.r.Int64N(int64(10*time.Second))))
	}
	return context.WithCancel(a.process.ctx)
}

// pause is for what a holder does: nothing, a while, or longer than its lease.
func (a *actor) pause() time.Duration {
	switch a.r.IntN(10) {
	case 0, 1, 2:
		return 0
	case 3:
		return time.Duration(a.r.Int64N(int64(2 * a.s.plan.ttl)))
	}
	return time.Duration(a.r.Int64N(int64(300 * time.Millisecond)))
}

// held has a hold watched, does what holders do, and says that it is over.
func (a *actor) held(h *hold, guard func() []clientv3.Cmp) {
	h.who = a.name
	a.s.world.enter(h)
	defer a.s.world.leave(h)
	a.s.world.use(h)
	if guard != nil && h.token != 0 && a.r.IntN(2) == 0 {
		a.write(h, guard())
	}
	select {
	case <-time.After(a.pause()):
	case <-h.ctx.Done():
	}
	a.s.world.use(h)
	if guard != nil && h.token != 0 && a.r.IntN(4) == 0 { // perhaps after it was lost
		a.write(h, guard())
	}
}

func (a *actor) write(h *hold, guard []clientv3.Cmp) {
	ctx, cancel := context.WithTimeout(a.process.ctx, 3*time.Second)
	defer cancel()
	// Whether it was done, the history of etcd says.
	_, _ = a.process.client.Txn(ctx).If(guard...).Then(clientv3.OpPut(guarded+h.what, strconv.FormatInt(int64(h.token), 10))).Commit()
}

func (a *actor) release(f func(context.Context) error) {
	ctx, cancel := a.patience()
	defer cancel()
	_ = f(ctx) // however it goes: what must hold, the world checks
}

// locked holds a lock of the lock package.
func (a *actor) locked(what string, l *lock.Lock, read bool, waited time.Duration) {
	h := &hold{what: what, ctx: l.Context(), lease: l.Lease(), token: l.Token(), read: read, waited: waited}
	var guard func() []clientv3.Cmp
	if a.r.IntN(2) == 0 && !read { // whoever asks for it exposes the entry
		guard = l.Guard
	}
	a.held(h, guard)
}

func (a *actor) mutex() {
	topic := a.topic()
	opts := []lock.Option{lock.WithHandoffs(a.s.plan.handoffs)}
	switch a.id % 3 { // the same for all of a process and name would be too tidy
	case 1:
		opts = append(opts, lock.WithLinger(a.s.plan.linger))
	case 2:
		opts = append(opts, lock.WithMinHold(50*time.Millisecond))
	}
	m := lock.New(a.session(), topic, opts...)
	ctx, cancel := a.patience()
	defer cancel()
	acquire := m.Acquire
	if a.r.IntN(4) == 0 {
		acquire = m.TryAcquire
	}
	over := a.wait(topic)
	l, err := acquire(ctx)
	waited := over(err)
	if a.got(err) {
		a.s.world.passes(topic, a.process.node.Name(), a.s.plan.handoffs)
		a.locked(topic, l, false, waited)
		a.release(l.Release)
	}
}

// got counts how a request went. Who gave up lets others come.
func (a *actor) got(err error) bool {
	switch {
	case err == nil:
		return true
	case a.process.ctx.Err() != nil:
	case errors.Is(err, lock.ErrHeld), errors.Is(err, semaphore.ErrExhausted), errors.Is(err, registry.ErrDuplicate), errors.Is(err, barrier.ErrBroken): // as it should be
		a.s.world.count(a.kind + ": taken")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		a.s.world.count(a.kind + ": gave up")
	default:
		a.s.world.count(a.kind + ": refused")
		if a.s.plan.calm {
			a.s.world.complain("%s: %s in calm: %v", a.name, a.kind, err)
		}
	}
	return false
}

func (a *actor) rwlock() {
	topic := a.topic()
	m := lock.NewRW(a.session(), topic)
	ctx, cancel := a.patience()
	defer cancel()
	read := a.r.IntN(3) > 0
	acquire := m.AcquireWrite
	switch try := a.r.IntN(5) == 0; {
	case read && try:
		acquire = m.TryAcquireRead
	case read:
		acquire = m.AcquireRead
	case try:
		acquire = m.TryAcquireWrite
	}
	over := a.wait(topic)
	l, err := acquire(ctx)
	waited := over(err)
	if a.got(err) {
		a.locked(topic, l, read, waited)
		a.release(l.Release)
	}
}

func (a *actor) set() {
	var names []string
	var ms []*lock.Mutex
	for i := range 3 {
		if a.r.IntN(3) > 0 {
			names = append(names, fmt.Sprintf("set%d", i))
			ms = append(ms, lock.New(a.session(), names[len(names)-1]))
		}
	}
	if len(ms) == 0 {
		return
	}
	ctx, cancel := a.patience()
	defer cancel()
	set, err := lock.AcquireAll(ctx, ms...)
	if !a.got(err) {
		return
	}
	var all []*hold
	for i, m := range ms {
		l := set.Lock(m)
		h := &hold{what: names[i], who: a.name, ctx: l.Context(), lease: l.Lease(), token: l.Token()}
		a.s.world.enter(h)
		all = append(all, h)
	}
	select {
	case <-time.After(a.pause()):
	case <-set.Context().Done():
	}
	for _, h := range all {
		a.s.world.leave(h)
	}
	a.release(set.Release)
}

const limit = 3

func (a *actor) semaphore() {
	topic := a.topic()
	a.s.world.mu.Lock()
	a.s.world.units[topic] = limit
	a.s.world.mu.Unlock()
	m := semaphore.New(a.session(), topic, limit)
	ctx, cancel := a.patience()
	defer cancel()
	acquire := m.Acquire
	if a.r.IntN(4) == 0 {
		acquire = m.TryAcquire
	}
	over := a.wait(topic)
	p, err := acquire(ctx, 1+a.r.Int64N(limit))
	waited := over(err)
	if a.got(err) {
		a.held(&hold{what: topic, ctx: p.Context(), lease: a.session().Lease(), units: p.Units(), waited: waited}, nil)
		a.release(p.Release)
	}
}

// cron runs a scheduler for some ticks.
func (a *actor) cron() {
	topic := a.topic()
	c := cron.New(a.session())
	err := c.Add(topic, "@every 2s", func(ctx context.Context, t cron.Tick) error {
		a.s.world.tick(topic, t.Scheduled, t.Attempt, a.name)
		a.held(&hold{what: topic, ctx: ctx, lease: a.session().Lease(), token: t.Token}, nil)
		return nil
	}, cron.WithMissed(cron.RunOnce, time.Minute))
	if err != nil {
		a.s.world.complain("%v", err)
		return
	}
	ctx, cancel := context.WithTimeout(a.process.ctx, time.Duration(a.r.Int64N(int64(20*time.Second))))
	defer cancel()
	_ = c.Run(ctx) // it ends with ctx, or with a lease that cannot be had
}
