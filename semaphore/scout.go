package semaphore

import (
	"context"

	"github.com/fenceline/fenceline/internal/line"
)

// scout gets a permit from etcd for whoever is first by then, or for the one call that does so itself.
type scout struct {
	lane   *lane
	cancel context.CancelFunc // nil: it is the call's own
}

// byItself is for a call that need not wait for others here: it is its own scout. It is called with the local's mutex held, as all here, and
// returns without.
func (lo *local) byItself(c *call, q *group) (*Permit, error) {
	s := &scout{lane: lo.lanes.take(lo, q.key, nil)}
	q.scout = s
	lo.mu.Unlock()
	h, err := s.lane.ref.AcquireUntold(c.Ctx, &line.Options{}, false)
	lo.mu.Lock()
	defer lo.mu.Unlock()
	q.scout = nil
	var p *Permit
	if err == nil {
		p = lo.grant(c, s.lane, h, 0)
	}
	if q.waiting.Len() > 0 {
		lo.adjust()
	}
	return p, err
}

// rivals says whether others here wait, in another queue.
func (lo *local) rivals(q *group) bool {
	for _, other := range lo.groups {
		if other != q && other.waiting.Len() > 0 {
			return true
		}
	}
	return false
}

// room says whether a permit may be had from etcd, or a reason why there will be none. Where it may not, one that is held here will do, if all
// that is held here could be handed to this queue. Else a place in etcd's line is needed all the same.
func (lo *local) room(q *group) bool {
	switch {
	case lo.limit == 0, q.key.want > 0 && q.key.want != lo.limit, q.key.units > lo.limit, lo.rivals(q), lo.held.of(q.key.units)*q.key.units < lo.held.all():
		return true
	}
	return lo.held.all()+q.key.units <= lo.limit
}

// send has a scout stand in etcd's line.
func (lo *local) send(q *group) {
	ctx, cancel := context.WithCancel(context.Background())
	s := &scout{lane: lo.lanes.take(lo, q.key, nil), cancel: cancel}
	q.scout = s
	ok := lo.keeper.Go(func(context.Context) {
		defer cancel()
		h, err := s.lane.ref.AcquireUntold(ctx, &line.Options{}, false)
		lo.mu.Lock()
		defer lo.mu.Unlock()
		lo.scouted(ctx, q, s, h, err)
	})
	if !ok {
		cancel()
		q.scout = nil
		lo.refuse(q, lo.keeper.Closed())
	}
}

func (lo *local) refuse(q *group, err error) {
	for q.waiting.Len() > 0 {
		q.waiting.Remove(q.waiting.Front()).(*call).answer(nil, err)
	}
}

// scouted takes what a scout has found.
func (lo *local) scouted(ctx context.Context, q *group, s *scout, h *line.Hold, err error) {
	if q.scout == s {
		q.scout = nil
	}
	switch front := q.waiting.Front(); {
	case err != nil && ctx.Err() != nil: // it was called back
	case front == nil && err == nil:
		lo.giveBack(s.lane, h)
	case front == nil:
	default:
		c := q.waiting.Remove(front).(*call)
		var p *Permit
		if err == nil {
			p = lo.grant(c, s.lane, h, 0)
		}
		c.answer(p, err)
	}
	lo.adjust()
}
