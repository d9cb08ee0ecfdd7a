package semaphore

import (
	"container/list"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/line"
	"github.com/fenceline/fenceline/internal/who"
	"github.com/fenceline/fenceline/session"
)

// local is what a Session's goroutines have of one semaphore: the permits that they hold, and who waits for one.
//
// Those who want the same number of units stand in one queue. A permit that is given back goes to the first of them without a word to
// etcd, as an entry of a mutex does: while nobody else waits, and else handoffs times in a row. At most one entry of theirs waits in etcd, the
// scout's, and none while this Session holds so much that nobody else could make room. What a grant costs etcd does not depend on how many
// wait here.
type local struct {
	keeper *keeper.Keeper
	name   string
	prefix string
	lanes  *lanes
	held   tally
	poked  atomic.Bool

	mu     sync.Mutex
	groups map[groupKey]*group
	limit  int64       // as it was seen last; 0: not known
	crowd  *crowd      // nil: it does not matter
	idle   *time.Timer // ends that; nil: it does not run
}

type groupKey struct{ want, units int64 }

// group is those who want so many units, and mean the same limit.
type group struct {
	key     groupKey
	waiting list.List // of *call
	scout   *scout    // nil: nobody stands in etcd's line
}

// call waits in a queue. It is answered once, with the local's mutex held.
type call struct {
	*keeper.Call
	at     *list.Element
	ready  chan struct{}
	permit *Permit
	err    error
}

func (c *call) answer(p *Permit, err error) {
	c.permit, c.err = p, err
	close(c.ready)
}

// handoffs is how many grants in a row a permit serves here while others wait; as lock.DefaultHandoffs.
const handoffs = 32

func (lo *local) group(key groupKey) *group {
	q, ok := lo.groups[key]
	if !ok {
		q = &group{key: key}
		lo.groups[key] = q
	}
	return q
}

// acquire waits for a permit of m.
func (lo *local) acquire(told *keeper.Call, m *Semaphore, n int64) (*Permit, error) {
	ctx := told.Ctx
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	c := &call{Call: told}
	lo.mu.Lock()
	q := lo.group(groupKey{m.want, n})
	if q.waiting.Len() == 0 && q.scout == nil && lo.held.all() == 0 { // nobody here could hand one over
		return lo.byItself(c, q)
	}
	c.ready = make(chan struct{})
	c.at = q.waiting.PushBack(c)
	lo.adjust()
	lo.mu.Unlock()
	select {
	case <-c.ready:
		return c.permit, c.err
	case <-ctx.Done():
	}
	lo.mu.Lock()
	defer lo.mu.Unlock()
	select {
	case <-c.ready: // at the same moment
		if c.permit != nil {
			lo.handOn(c.permit)
		}
	default:
		q.waiting.Remove(c.at)
		c.err = lo.waited(q, context.Cause(ctx))
	}
	lo.adjust()
	if c.err == nil {
		c.err = context.Cause(ctx)
	}
	return nil, c.err
}

// wanted is how many units those here wait for who have no entry in etcd.
func (lo *local) wanted() (n int64) {
	lo.mu.Lock()
	defer lo.mu.Unlock()
	for key, q := range lo.groups {
		waiting := int64(q.waiting.Len())
		if q.scout != nil && q.scout.cancel != nil {
			waiting--
		}
		n += key.units * max(waiting, 0)
	}
	return n
}

// try gets a permit if nobody has come since that revision.
func (lo *local) try(told *keeper.Call, m *Semaphore, n, revision int64) (*Permit, error) {
	l := lo.lanes.take(lo, groupKey{m.want, n}, &revision)
	h, err := l.ref.AcquireUntold(told.Ctx, &line.Options{}, false)
	if err != nil {
		return nil, err
	}
	lo.mu.Lock()
	defer lo.mu.Unlock()
	return lo.grant(&call{Call: told}, l, h, 0), nil
}

// grant makes the permit of a call. It is called with the mutex held, as all that follows.
func (lo *local) grant(c *call, l *lane, h *line.Hold, passed int) *Permit {
	n := l.key.units
	lo.held.add(n, 1)
	h.OnEnd(func() {
		lo.held.add(n, -1)
		lo.poke()
	})
	if l.want > 0 {
		lo.limit = l.want
	}
	return &Permit{local: lo, lane: l, hold: h, passed: passed, limit: lo.limit}
}

// waited is the error of a call whose ctx has ended.
func (lo *local) waited(q *group, err error) error {
	if q.scout != nil {
		return q.scout.lane.ref.Waited(err)
	}
	return &session.WaitError{Name: lo.name, Holder: who.Own(lo.keeper), Err: err}
}

// release gives a permit to the next one here, or back.
func (lo *local) release(ctx context.Context, p *Permit) error {
	lo.mu.Lock()
	passed := lo.pass(p)
	lo.mu.Unlock()
	if passed {
		p.hold.Returned(true)
		return nil
	}
	err := p.hold.Release(ctx)
	if err == nil {
		lo.lanes.put(p.lane)
	}
	return err
}

// handOn does with a permit that nobody takes what release does, and waits for nothing.
func (lo *local) handOn(p *Permit) {
	if !lo.pass(p) {
		lo.giveBack(p.lane, p.hold)
		return
	}
	p.hold.Returned(false)
}

func (lo *local) giveBack(l *lane, h *line.Hold) {
	lo.keeper.Go(func(ctx context.Context) {
		if h.Release(ctx) == nil {
			lo.lanes.put(l)
		}
	})
}

// pass hands a permit to the first one here who waits for as many units, if it may.
func (lo *local) pass(p *Permit) bool {
	q := lo.groups[groupKey{p.lane.want, p.lane.key.units}]
	if q == nil || q.waiting.Len() == 0 || lo.crowd == nil {
		return false
	}
	s, passed := lo.crowd.look(q.key.units), p.passed
	if s.limit > 0 {
		lo.limit = s.limit
	}
	switch {
	case lo.limit > 0 && q.key.want > 0 && lo.limit != q.key.want: // they are to hear of that
		return false
	case s.limit > 0 && (p.limit == 0 || s.limit < p.limit) && s.inside < lo.held.all(): // it has shrunk
		return false
	case s.unknown || s.others || lo.rivals(q):
		if passed++; passed > handoffs {
			return false
		}
	}
	c := q.waiting.Front().Value.(*call)
	h, ok := p.hold.HandOver(c.Ctx)
	if !ok {
		return false
	}
	q.waiting.Remove(c.at)
	c.answer(&Permit{local: lo, lane: p.lane, hold: h, passed: passed, limit: p.limit}, nil)
	if q.waiting.Len() == 0 {
		lo.adjust()
	}
	return true
}

// adjust has scouts stand in etcd's line, and the crowd looked at, as far as that is of use.
func (lo *local) adjust() {
	anybody := false
	for key, q := range lo.groups {
		anybody = anybody || q.waiting.Len() > 0
		switch {
		case q.waiting.Len() == 0 && q.scout == nil:
			delete(lo.groups, key)
		case q.waiting.Len() == 0 && q.scout.cancel != nil:
			q.scout.cancel()
			q.scout = nil
		case q.waiting.Len() > 0 && q.scout == nil && lo.room(q):
			lo.send(q)
		}
	}
	if watch := anybody && lo.held.all() > 0; watch && lo.crowd == nil {
		lo.crowd = gather(lo.keeper, lo.prefix, lo.poke)
	} else if !anybody && lo.crowd != nil && lo.idle == nil {
		lo.idle = time.AfterFunc(keepWarm, lo.cool)
	}
}

// keepWarm is how long the crowd is looked at after nobody has waited here any more.
const keepWarm = 5 * time.Second

func (lo *local) cool() {
	lo.mu.Lock()
	defer lo.mu.Unlock()
	lo.idle = nil
	for _, q := range lo.groups {
		if q.waiting.Len() > 0 {
			return
		}
	}
	lo.crowd.disperse()
	lo.crowd = nil
}

// poke has a change looked at, soon.
func (lo *local) poke() {
	if lo.poked.Swap(true) {
		return
	}
	ok := lo.keeper.Go(func(context.Context) {
		lo.poked.Store(false)
		lo.mu.Lock()
		defer lo.mu.Unlock()
		if lo.crowd != nil {
			if s := lo.crowd.look(0); s.limit > 0 {
				lo.limit = s.limit
			}
		}
		lo.adjust()
	})
	if !ok { // closed; somebody may wait for what was held here
		go func() {
			lo.mu.Lock()
			defer lo.mu.Unlock()
			for _, q := range lo.groups {
				lo.refuse(q, lo.keeper.Closed())
			}
		}()
	}
}
