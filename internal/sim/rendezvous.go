package sim

import (
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/barrier"
)

const parties = 2

func (a *actor) barrier() {
	topic := a.topic()
	ctx, cancel := context.WithTimeout(a.process.ctx, time.Duration(a.r.Int64N(int64(20*time.Second))))
	defer cancel()
	p, err := barrier.New(a.session(), topic, parties).Enter(ctx)
	if !a.got(err) {
		return
	}
	a.s.world.pass(topic, p.Round(), parties)
	time.Sleep(a.pause())
	ctx, cancel = context.WithTimeout(a.process.ctx, 10*time.Second)
	defer cancel()
	_ = p.Leave(ctx) // others may die, or take longer
}

// gate closes one, opens one, or waits until it is open.
func (a *actor) gate() {
	topic := a.topic()
	g := barrier.NewGate(a.session(), topic)
	ctx, cancel := context.WithTimeout(a.process.ctx, time.Duration(a.r.Int64N(int64(15*time.Second))))
	defer cancel()
	switch a.r.IntN(5) {
	case 0:
		a.got(g.Close(ctx))
	case 1:
		over := a.s.world.opens(topic, a.s.etcd.Revision)
		a.got(g.Open(ctx))
		over()
	default:
		began := a.s.etcd.Revision()
		if a.got(g.Wait(ctx)) {
			a.s.world.through(crossing{gate: topic, who: a.name, from: began, to: a.s.etcd.Revision()})
		}
	}
}

const countFrom = 3

// latch counts down, once or twice under one id, and waits for the others. One that has opened is followed by the next.
func (a *actor) latch() {
	topic := a.topic()
	name := topic + "-" + strconv.Itoa(a.s.world.latch(topic))
	l := barrier.NewLatch(a.session(), name, countFrom)
	ctx, cancel := context.WithTimeout(a.process.ctx, time.Duration(a.r.Int64N(int64(20*time.Second))))
	defer cancel()
	for range 1 + a.r.IntN(2) {
		a.s.world.mayCount(name, a.name)
		if !a.got(l.CountDown(ctx, a.name)) {
			return
		}
	}
	if left, err := l.Left(ctx); err == nil {
		a.s.world.left(name, left)
	}
	if a.got(l.Wait(ctx)) {
		a.s.world.left(name, 0)
		a.s.world.opened(topic, name)
	}
}

// crossing is a Wait at a gate that has returned, between two revisions.
type crossing struct {
	gate, who string
	from, to  int64
}

// opens is told of an Open before it begins, and after it has ended. What is closed after that, it must not open.
func (w *world) opens(gate string, revision func() int64) func() {
	o := &crossing{gate: gate, from: revision(), to: math.MaxInt64}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.openings = append(w.openings, o)
	return func() {
		to := revision()
		w.mu.Lock()
		defer w.mu.Unlock()
		o.to = to
	}
}

func (w *world) through(c crossing) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts["through a gate"]++
	w.crossings = append(w.crossings, c)
}

// gateOf is the gate that a key says is closed.
func gateOf(key []byte) (string, bool) {
	rest, ok := strings.CutPrefix(string(key), "fenceline/gate/")
	gate, closed := strings.CutSuffix(rest, "/closed")
	return gate, ok && closed
}

// checkGates looks at what gates were while somebody waited: who went through one found it open at some revision in between.
func (w *world) checkGates() {
	if w.restores() > 0 { // then revisions are used again
		return
	}
	events := w.etcd.Events()
	closed := map[string]int64{}
	for _, ev := range events {
		gate, ok := gateOf(ev.Kv.Key)
		switch {
		case !ok:
		case ev.Type == clientv3.EventTypeDelete:
			if !slices.ContainsFunc(w.openings, func(o *crossing) bool { return o.gate == gate && o.from < ev.Revision && o.to >= closed[gate] }) {
				w.complain("%s, closed at revision %d, was opened at %d by nobody who has seen it closed", gate, closed[gate], ev.Revision)
			}
		default:
			closed[gate] = ev.Revision
		}
	}
	for _, c := range w.crossings {
		open, was := true, false
		for _, ev := range events {
			if ev.Revision > c.to {
				break
			}
			was = was || open && ev.Revision > c.from
			if gate, ok := gateOf(ev.Kv.Key); ok && gate == c.gate {
				open = ev.Type == clientv3.EventTypeDelete
			}
		}
		if !was && !open {
			w.complain("%s went through %s, which was closed from revision %d to %d", c.who, c.gate, c.from, c.to)
		}
	}
}

// latch is the number of the one that is counted down.
func (w *world) latch(topic string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.latches[topic]
}

// mayCount is told before somebody counts.
func (w *world) mayCount(name, id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.counted[name] == nil {
		w.counted[name] = map[string]bool{}
	}
	w.counted[name][id] = true
}

// left is told what somebody has seen of a latch: no id has counted twice, and nobody who did not.
func (w *world) left(name string, n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if least := countFrom - int64(len(w.counted[name])); n < least {
		w.wrong("%s has %d left, of which %d have not counted", name, n, least)
	}
}

func (w *world) opened(topic, name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts["latches waited for"]++
	if name == topic+"-"+strconv.Itoa(w.latches[topic]) {
		w.latches[topic]++
	}
}
