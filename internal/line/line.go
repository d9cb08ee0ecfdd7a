package line

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/internal/meter"
	"github.com/fenceline/fenceline/internal/queue"
	"github.com/fenceline/fenceline/internal/since"
	"github.com/fenceline/fenceline/internal/who"
	"github.com/fenceline/fenceline/session"
)

// ErrHeld and ErrQueueFull are exported to users by package lock.
var (
	ErrHeld      = errors.New("lock: somebody else is ahead")
	ErrQueueFull = errors.New("lock: too many are waiting")
)

// Options of one Acquire. They may differ between the callers of one line.
type Options struct {
	Handoffs   int           // local grants in a row while others wait
	Linger     time.Duration // how long an entry stays that nobody here wants at the moment
	MaxWaiters int           // how many may wait already; 0: any number

	MinHold       time.Duration // nobody gets the entry's place sooner after the grant
	TakeoverDelay time.Duration // the wait after a holder that died
}

// Admitted are the options of a call that may wait, however many do by now.
func (o *Options) Admitted() *Options {
	in := *o
	in.MaxWaiters = 0
	return &in
}

// Line drives a machine: it brings in what happens, with the mutex held, and does what the machine asks for. Requests are sent without the
// mutex, one at a time, and their answers come in as events.
type Line struct {
	keeper *keeper.Keeper
	table  *Table
	key    tableKey

	mu     sync.Mutex
	m      machine
	timer  *time.Timer
	armed  time.Duration  // when timer fires, on the keeper's clock; 0: it does not
	rely   func()         // ends our reliance on the stream's silence; nil: there is none
	serves bool           // a goroutine sends requests, and will send the next
	next   *request       // that one
	shards []*meter.Shard // one for each track; nil: nothing is counted
	brief  meter.Brief    // not counted yet
}

func newLine(k *keeper.Keeper, key tableKey, private bool, members []Member) *Line {
	l := &Line{keeper: k, table: Of(k), key: key}
	l.m.world, l.m.private = (*outside)(l), private
	l.m.tracks = make([]track, len(members))
	for i, of := range members {
		l.m.tracks[i] = track{ref: of.Ref, policy: of.Policy, prefix: of.Prefix, end: clientv3.GetPrefixRangeEnd(of.Prefix), opts: of.Options}
		if k.Meter != nil {
			l.shards = append(l.shards, k.Meter.Shard(of.Kind, of.Name))
		}
	}
	return l
}

// outside is what the machine reads of the world.
type outside Line

func (o *outside) alive() bool                               { return o.keeper.Watch().Alive() }
func (o *outside) silence() time.Duration                    { return o.keeper.Silence() }
func (o *outside) jitter(d time.Duration) time.Duration      { return etcd.Jitter(d) }
func (o *outside) pause(b etcd.Backoff, n int) time.Duration { return b.Wait(n) }
func (o *outside) spot(i int, lease clientv3.LeaseID) spot {
	return o.table.newSpot(&o.m.tracks[i], lease, o.keeper.Inherited(o.m.tracks[i].dir()))
}

// moment is now. It is called with the mutex held, as step is.
func (l *Line) moment() (at moment) {
	if a := l.m.attempt; a != nil {
		at.fresh, at.now, at.lost = a.epoch.Look()
		return at
	}
	at.now = l.keeper.Elapsed()
	return at
}

// step brings in ev, and what follows from it at once.
func (l *Line) step(ev *event) {
	for ev != nil {
		ev = l.do(l.m.step(l.moment(), ev))
	}
	l.mindTimer()
	if l.m.relies == (l.rely == nil) {
		l.mindReliance()
	}
	if l.m.private && l.shards != nil && l.m.attempt == nil && l.m.queue.Len() == 0 {
		l.countBrief()
		l.table.end(l)
	}
}

func (l *Line) mindTimer() {
	at := l.m.due()
	if at == 0 || l.armed != 0 && l.armed <= at {
		return
	}
	l.armed = at
	wait := max(at-l.m.at.now, time.Millisecond) // a clock that stands still must not have it fire at once, again and again
	if l.timer != nil {
		l.timer.Reset(wait)
		return
	}
	l.timer = time.AfterFunc(wait, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.armed = 0
		l.step(&event{what: onTick})
	})
}

func (l *Line) mindReliance() {
	if l.m.relies {
		l.rely = l.keeper.Watch().Rely()
		return
	}
	l.rely()
	l.rely = nil
}

// do does what the machine asks for. It returns what follows at once, if anything does.
func (l *Line) do(effects []effect) (then *event) {
	for i := range effects {
		e := &effects[i]
		switch e.do {
		case doReply:
			if h := e.w.hold; h != nil {
				h.line = l
				if h.attempt.uses == 1 { // those after it are others here
					h.attempt.mark.Holds(since.OwnerOf(e.w.ctx))
				}
				if e.w.told {
					l.countGrant(h, e.w.took)
				}
			}
			if e.w.ready != nil {
				close(e.w.ready)
			}
		case doFinish:
			e.h.finish(e.err)
			l.ended(e.h)
		case doDemoted:
			if e.h.demoted != nil {
				e.h.demoted()
			}
		case doSettle:
			e.fate <- e.err
		case doEdited:
			e.edit.done <- e.err
			close(e.edit.over)
		case doSend:
			then = l.send(e.req)
		case doRecall:
			e.req.stop()
		case doRevoked:
			e.a.epoch.Gone()
		case doRewound: // that loses the epoch
			e.a.epoch.Rewound(e.a.spots[e.i].entry.Create, e.revision)
			then = &event{what: onTick}
		case doRetire:
			l.countBrief()
			l.table.remove(l)
		default:
			l.doAbout(e)
		}
	}
	return then
}

// doAbout does what concerns attempts and views.
func (l *Line) doAbout(e *effect) {
	switch a := e.a; e.do {
	case doTend:
		a.epoch.OnLoss(a, func(error) { l.happens(&event{what: onTick}) })
	case doForget:
		a.epoch.Forget(a)
		a.mark.Done()
	case doShare:
		for i := range a.spots {
			a.epoch.Again(a.spots[i].lease)
		}
	case doFree:
		l.table.freeSlot(a, int(e.i))
	case doAbandon:
		l.abandon(a)
	case doUnpark:
		i := int(e.i)
		l.keeper.Go(func(ctx context.Context) { l.unpark(ctx, a, i) })
	case doAsk:
		l.keeper.Go(func(ctx context.Context) { l.explain(ctx, a) })
	case doWatch:
		l.watch(e.view)
	case doUnwatch:
		e.view.stop()
	case doList:
		v, revision := e.view, e.revision
		l.keeper.Go(func(ctx context.Context) { l.list(ctx, v, revision) })
	case doViewFailed:
		l.keeper.Log.Debug("watch ended", "prefix", e.view.key, "error", e.err)
	case doRestart:
		l.keeper.Watch().Restart()
	case doQueuedUp:
		ref := l.m.tracks[e.i].ref
		l.keeper.Queued(ref.Kind, ref.Name, int(e.revision))
	case doLost:
		for i := range l.m.tracks {
			ref := l.m.tracks[i].ref
			l.keeper.Lost(ref.Kind, ref.Name, e.err)
		}
	case doMeet:
		i, met, standing := int(e.i), *e.entry, standingOf(!e.waits)
		l.keeper.Go(func(ctx context.Context) { l.meet(ctx, i, met, standing) })
	}
}

// happens is step of who does not hold the mutex.
func (l *Line) happens(ev *event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.step(ev)
}

// send has r sent. It returns the answer to one that needs nobody else.
func (l *Line) send(r *request) (then *event) {
	if r.kind == askLease {
		if x := l.leaseAtOnce(); x != nil {
			return &event{what: onAnswer, req: r, ans: x}
		}
		l.m.trouble = l.keeper.Healthy()
	}
	r.ctx, r.stop = context.WithCancel(l.keeper.Context())
	if l.serves {
		l.next = r
		return nil
	}
	l.serves = true
	if l.keeper.Go(func(context.Context) { l.serve(r) }) {
		return nil
	}
	l.serves = false
	r.stop()
	return &event{what: onClose, err: l.keeper.Closed()}
}

// serve sends requests for as long as there is one after the other.
func (l *Line) serve(r *request) {
	for r != nil {
		x := l.ask(r)
		r.stop()
		l.mu.Lock()
		l.next = nil
		if l.keeper.Context().Err() != nil {
			l.serves = false
			l.step(&event{what: onClose, err: l.keeper.Closed()})
		} else {
			l.step(&event{what: onAnswer, req: r, ans: x})
		}
		r = l.next
		l.serves = r != nil
		l.mu.Unlock()
	}
}

// watch opens a view.
func (l *Line) watch(v *view) {
	f := &feed{l, v}
	if v.deletes {
		v.stop = l.keeper.Watch().Deletes(v.key, v.end, f)
	} else {
		v.stop = l.keeper.Watch().Watch(v.key, v.end, f)
	}
}

// feed brings in what the session's watch stream tells of a view.
type feed struct {
	line *Line
	view *view
}

func (f *feed) Created(revision int64) {
	f.line.happens(&event{what: onOpened, view: f.view, revision: revision})
}

func (f *feed) Events(events []*mvccpb.Event) {
	f.line.happens(&event{what: onEvents, view: f.view, events: events})
}

func (f *feed) Ended(err error) { f.line.happens(&event{what: onEnded, view: f.view, err: err}) }

// Silent is called by the stream when its silence means nothing any more. The stream does not wait for the mutex.
func (f *feed) Silent() {
	f.line.keeper.Go(func(context.Context) { f.line.happens(&event{what: onTick}) })
}

// list reads the list of a view.
func (l *Line) list(ctx context.Context, v *view, revision int64) {
	ctx, cancel := context.WithTimeout(ctx, l.keeper.RequestTimeout())
	defer cancel()
	var opts []clientv3.OpOption
	if v.end != "" {
		opts = append(opts, clientv3.WithRange(v.end))
	}
	ev := &event{what: onListed, view: v, asked: revision}
	resp, err := l.keeper.KV().ReadAt(ctx, revision, v.key, opts...)
	if err != nil {
		ev.err = err
	} else {
		ev.revision, ev.entries = resp.Header.Revision, queue.EntriesOf(resp.Kvs)
	}
	l.happens(ev)
}

// explainWithin bounds the question why an entry has vanished: the name may be somebody else's already.
const explainWithin = 250 * time.Millisecond

func (l *Line) explain(ctx context.Context, a *attempt) {
	ctx, cancel := context.WithTimeout(ctx, explainWithin)
	defer cancel()
	err := a.epoch.Renew(ctx)
	if err == nil {
		err = l.broken(ctx, a)
	}
	l.happens(&event{what: onReason, a: a, err: err})
}

// broken is who has broken a hold on a, as a *keeper.BrokenError; nil: nobody, as far as is known.
func (l *Line) broken(ctx context.Context, a *attempt) error {
	resp, err := l.keeper.KV().Get(ctx, keyspace.Broken(l.keeper.Namespace, a.spots[0].entry.Create))
	by := &keeper.BrokenError{}
	if err != nil || len(resp.Kvs) == 0 || json.Unmarshal(resp.Kvs[0].Value, by) != nil {
		return nil
	}
	return by
}

// meet finds out whose an entry in the i-th line is.
func (l *Line) meet(ctx context.Context, i int, e queue.Entry, standing session.Standing) {
	ctx, cancel := context.WithTimeout(ctx, l.keeper.RequestTimeout())
	defer cancel()
	t := &l.m.tracks[i]
	if h, known := who.Meet(ctx, l.keeper, t.dir(), e, standing); known {
		l.happens(&event{what: onMet, i: i, met: acquaintance{e, h}})
	}
}

// dir is where the entries stand. Like the prefix it never changes.
func (t *track) dir() string { return t.prefix + t.ref.Policy.Dir }
