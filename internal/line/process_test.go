package line

import (
	"fmt"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/queue"
)

// process has one machine and one lease.
type process struct {
	of      *model
	name    string
	m       *machine
	now     time.Duration
	epoch   *keeper.Epoch
	lease   clientv3.LeaseID
	slots   int
	fence   int // attempts of before are not applied any more
	waiter  *waiter
	left    int // wants
	request *request
	sent    int     // fence when it was sent
	answer  *answer // nil: it is on its way there
	views   []*modelView
	late    []lateJoin
	why     *attempt
	chores  []*attempt // abandoned
}

type lateJoin struct {
	r     *request
	fence int
}

type modelView struct {
	v      *view
	opened bool
	listed bool
	asked  int64
	events [][]*mvccpb.Event
}

func (p *process) alive() bool                           { return true }
func (p *process) silence() time.Duration                { return time.Hour }
func (p *process) jitter(d time.Duration) time.Duration  { return d }
func (p *process) pause(etcd.Backoff, int) time.Duration { return time.Millisecond }
func (p *process) spot(i int, lease clientv3.LeaseID) (of spot) {
	p.slots++
	return spot{lease: lease, key: fmt.Sprintf("%s%d/%d", p.m.tracks[i].prefix, lease, p.slots)}
}

func (p *process) calls(add func(string, func())) {
	w := p.of
	switch u := p.waiter; {
	case u == nil && p.left > 0:
		add("wants", func() {
			p.left--
			p.waiter = &waiter{opts: &Options{}}
			p.step(&event{what: onWant, w: p.waiter})
		})
	case u == nil:
	case u.done && u.hold != nil && u.hold.ended == nil:
		add("releases", func() { p.waiter = nil; p.step(&event{what: onRelease, h: u.hold}) })
		if w.looks > 0 && !u.hold.exposed {
			add("looks", func() { w.looks--; u.hold.expose() })
		}
	case u.done:
		p.waiter = nil
		p.calls(add)
	case w.cancels > 0:
		add("gives up", func() { w.cancels--; p.waiter = nil; p.step(&event{what: onCancel, w: u}) })
	}
}

func (p *process) requests(add func(string, func())) {
	w, r := p.of, p.request
	switch {
	case r == nil:
	case p.answer != nil:
		add("is answered "+r.kind.String(), func() { p.hear(p.answer) })
		if w.lost > 0 && r.kind != askLease {
			add("is not answered "+r.kind.String(), func() { w.lost--; p.hear(p.unanswered()) })
		}
	default:
		add("asks "+r.kind.String(), func() { p.answer = w.execute(p, r) })
		if w.late > 0 && r.kind == askJoin {
			add("'s request is late: "+r.kind.String(), func() {
				w.late--
				p.late = append(p.late, lateJoin{r, p.sent})
				p.hear(p.unanswered())
			})
		}
	}
}

func (p *process) unanswered() *answer {
	err := failures["lost"]
	return &answer{err: err, explained: err, unknown: p.request.a.unknown || p.request.kind == askJoin, deleteUnknown: p.request.kind == askLeave}
}

func (p *process) hear(x *answer) {
	r := p.request
	p.request, p.answer = nil, nil
	p.step(&event{what: onAnswer, req: r, ans: x})
}

func (p *process) watches(add func(string, func())) {
	for _, v := range p.views {
		switch {
		case !v.opened:
			add("'s watch opens", func() { v.opened = true; p.step(&event{what: onOpened, view: v.v, revision: p.of.revision}) })
		case v.asked > 0:
			add("reads a list", func() {
				asked := v.asked
				v.asked = 0
				p.step(&event{what: onListed, view: v.v, asked: asked, revision: p.of.revision, entries: p.of.in(v.v.target)})
			})
		case len(v.events) > 0:
			add("'s watch tells", func() {
				events := v.events[0]
				v.events = v.events[1:]
				p.step(&event{what: onEvents, view: v.v, events: events})
			})
		}
	}
}

// lose ends p's lease: what hangs on it in the process first, and then in etcd.
func (p *process) lose() {
	old := p.lease
	effects := p.m.step(moment{now: p.now, lost: keeper.ErrExpired}, &event{what: onTick})
	p.epoch, p.lease = &keeper.Epoch{}, p.lease+1
	p.do(effects)
	p.fence++
	p.of.remove(func(e queue.Entry) bool { return e.Lease == old })
}

func (p *process) step(ev *event) {
	p.do(p.m.step(moment{now: p.now, fresh: true}, ev))
}

func (p *process) do(effects []effect) {
	var at *event // once
	for i := range effects {
		e := &effects[i]
		switch e.do {
		case doSend:
			p.request, p.sent = e.req, p.fence
			if e.req.kind == askLease { // there is one, with room
				at = &event{what: onAnswer, req: e.req, ans: p.of.execute(p, e.req)}
				p.request = nil
			}
		case doWatch:
			p.views = append(p.views, &modelView{v: e.view})
		case doUnwatch:
			p.views = slices.DeleteFunc(p.views, func(v *modelView) bool { return v.v == e.view })
		case doList:
			for _, v := range p.views {
				if v.v == e.view {
					v.asked = max(e.revision, 1)
				}
			}
		case doAsk:
			p.why = e.a
		case doAbandon:
			p.chores = append(p.chores, e.a)
		}
	}
	if at != nil {
		p.step(at)
		return
	}
	if err := p.m.check(); err != nil && p.of.failed == nil {
		p.of.failed = fmt.Errorf("%s: %w", p.name, err)
	}
}
