package line

import (
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/queue"
)

// model is etcd, and those who use it.
type model struct {
	budget
	revision int64
	entries  []queue.Entry
	room     int // how many may hold a name
	all      []*process
	log      strings.Builder
	deleted  bool // somebody has deleted an entry: then a hold may outlive it for a moment
	failed   error
}

func newModel(b budget) *model {
	w := &model{budget: b, revision: 1, room: 1}
	policy, names := queue.Mutex, [][]string{{"x/"}, {"x/", "y/"}, {"y/"}}
	if b.strangers > 0 {
		policy, names, w.room = roomFor2, [][]string{{"x/"}, {"x/"}, {"x/"}}, 2
	}
	for range b.strangers {
		w.revision++
		w.entries = append(w.entries, queue.Entry{Key: fmt.Sprintf("x/stranger%d", w.revision), Create: w.revision, Mod: w.revision, Lease: 9})
	}
	for i, prefixes := range names {
		p := &process{of: w, name: string(rune('A' + i)), epoch: &keeper.Epoch{}, lease: clientv3.LeaseID(100 * (i + 1)), left: b.wants}
		p.m = &machine{world: p, private: len(prefixes) > 1}
		for _, prefix := range prefixes {
			p.m.tracks = append(p.m.tracks, track{ref: &Ref{Name: prefix}, policy: policy, prefix: prefix, end: clientv3.GetPrefixRangeEnd(prefix), opts: &Options{}})
		}
		w.all = append(w.all, p)
	}
	return w
}

// choice is an event that may be next.
type choice struct {
	what string
	act  bool // of somebody, and not on its way already
	do   func()
}

// choices are all events that may be next, in an order that is the same each time.
func (w *model) choices() (all []choice) {
	for _, p := range w.all {
		add := func(what string, do func()) { all = append(all, choice{p.name + " " + what, false, do}) }
		p.calls(func(what string, do func()) { all = append(all, choice{p.name + " " + what, true, do}) })
		p.requests(add)
		p.watches(add)
		if p.why != nil {
			add("hears why", func() { a := p.why; p.why = nil; p.step(&event{what: onReason, a: a}) })
		}
		for i, a := range p.chores {
			add("gives back what it has lost", func() {
				p.chores = slices.Delete(p.chores, i, i+1)
				p.fence++
				w.remove(func(e queue.Entry) bool { return a.has(e.Key) })
			})
		}
		for i, l := range p.late {
			add("'s late request arrives", func() {
				p.late = slices.Delete(p.late, i, i+1)
				if l.fence == p.fence {
					w.join(p, l.r, &answer{})
				}
			})
		}
		if at := p.m.due(); at != 0 && p.m.retryAt > p.now {
			add("waits", func() { p.now = at; p.step(&event{what: onTick}) })
		}
		if w.ends > 0 && p.m.attempt != nil {
			all = append(all, choice{p.name + " loses its lease", true, func() { w.ends--; p.lose() }})
		}
	}
	for _, e := range w.entries[:min(len(w.entries), 3)] { // who holds, or has had enough
		if e.Lease == 9 {
			all = append(all, choice{e.Key + " leaves", true, func() { w.remove(func(o queue.Entry) bool { return o.Key == e.Key }) }})
		}
	}
	if w.deletes > 0 {
		for _, e := range w.entries {
			all = append(all, choice{"somebody deletes " + e.Key, true, func() {
				w.deletes--
				w.deleted = true
				w.remove(func(o queue.Entry) bool { return o.Key == e.Key })
			}})
		}
	}
	return all
}

func (w *model) in(t target) (in []queue.Entry) {
	for _, e := range w.entries {
		if e.Key == t.key || t.end != "" && e.Key >= t.key && e.Key < t.end {
			in = append(in, e)
		}
	}
	return in
}

// happened is a change at the present revision.
func (w *model) happened(events []*mvccpb.Event) {
	for _, p := range w.all {
		for _, v := range p.views {
			var told []*mvccpb.Event
			for _, ev := range events {
				key := string(ev.Kv.Key)
				if (key == v.v.key || v.v.end != "" && key >= v.v.key && key < v.v.end) && !(v.v.deletes && ev.Type == mvccpb.Event_PUT) {
					told = append(told, ev)
				}
			}
			if v.opened && len(told) > 0 {
				v.events = append(v.events, told)
			}
		}
	}
}

func (w *model) remove(of func(queue.Entry) bool) (n int) {
	var events []*mvccpb.Event
	for _, e := range w.entries {
		if of(e) {
			events = append(events, &mvccpb.Event{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: []byte(e.Key), ModRevision: w.revision + 1}})
		}
	}
	if len(events) > 0 {
		w.revision++
		w.entries = slices.DeleteFunc(w.entries, of)
		w.happened(events)
	}
	return len(events)
}

func (a *attempt) has(key string) bool {
	return slices.ContainsFunc(a.spots, func(s spot) bool { return s.key == key })
}

// execute is what etcd does with a request.
func (w *model) execute(p *process, r *request) *answer {
	x := &answer{}
	if r.a != nil {
		x.unknown = r.a.unknown
	}
	switch r.kind {
	case askLease:
		x.epoch = p.epoch
		for range p.m.tracks {
			x.leases = append(x.leases, p.lease)
		}
		return x
	case askJoin:
		if r.a.spots[0].lease != p.lease {
			x.err = failures["nolease"]
			break
		}
		w.join(p, r, x)
	case askLeave:
		if r.a.unknown {
			p.fence++
		}
		n := w.remove(func(e queue.Entry) bool { return r.a.has(e.Key) })
		if r.a.stood && !r.a.deleteUnknown && n < len(r.a.spots) {
			x.err = keeper.ErrEntryGone
		}
		x.unknown = false
	case askConfirm, askSurvey:
		x.revision = w.revision
		for _, e := range w.in(target{key: p.m.tracks[r.i].prefix, end: p.m.tracks[r.i].end}) {
			if r.kind == askSurvey || e.Create <= r.a.spots[r.i].entry.Create {
				x.entries = append(x.entries, e)
			}
		}
		if r.near > 0 {
			x.entries = x.entries[max(len(x.entries)-r.near-1, 0):]
		}
	}
	return x
}

func (w *model) join(p *process, r *request, x *answer) {
	var there []queue.Entry
	for _, e := range w.entries {
		if r.a.has(e.Key) {
			there = append(there, e)
		}
	}
	if len(there) > 0 {
		x.entries, x.seen = there, make([]seen, len(there))
		return
	}
	var events []*mvccpb.Event
	if r.old != nil {
		key := r.old.spots[0].key
		if !slices.ContainsFunc(w.entries, func(e queue.Entry) bool { return e.Key == key }) {
			x.err = keeper.ErrEntryGone
			return
		}
		w.entries = slices.DeleteFunc(w.entries, func(e queue.Entry) bool { return e.Key == key })
		events = append(events, &mvccpb.Event{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: []byte(key), ModRevision: w.revision + 1}})
	}
	w.revision++
	x.revision = w.revision
	for i := range r.a.spots {
		s := &r.a.spots[i]
		e := queue.Entry{Key: s.key, Create: w.revision, Mod: w.revision, Lease: s.lease}
		w.entries = append(w.entries, e)
		x.entries = append(x.entries, e)
		events = append(events, &mvccpb.Event{Type: mvccpb.Event_PUT, Kv: &mvccpb.KeyValue{Key: []byte(s.key), CreateRevision: w.revision, ModRevision: w.revision, Lease: int64(s.lease)}})
	}
	w.happened(events)
	for i := range r.a.spots {
		line := w.in(target{key: p.m.tracks[i].prefix, end: p.m.tracks[i].end})
		in := seen{look: r.looks[i], known: true, count: int64(len(line))}
		switch r.looks[i] {
		case lookCount:
		case lookAll:
			in.entries = line
		case lookNear:
			in.entries = line[max(len(line)-r.near-1, 0):]
		default:
			in.entries = line[max(len(line)-2, 0):]
		}
		x.seen = append(x.seen, in)
	}
}

// check returns what is wrong.
func (w *model) check() error {
	if w.failed != nil {
		return w.failed
	}
	holders := map[string]int{}
	for _, p := range w.all {
		for _, h := range p.m.holds {
			for i := range h.attempt.spots {
				prefix := p.m.tracks[i].prefix
				if holders[prefix]++; holders[prefix] > w.room && !w.deleted {
					return fmt.Errorf("%d hold %s, %s among them", holders[prefix], prefix, p.name)
				}
				line := w.in(target{key: prefix, end: p.m.tracks[i].end})
				first := line[:min(len(line), w.room)]
				if _, in := queue.Find(first, h.attempt.spots[i].key); !in && !w.deleted {
					return fmt.Errorf("%s holds %s, and first are %v", p.name, prefix, first)
				}
			}
		}
	}
	choices := w.choices()
	if slices.ContainsFunc(choices, func(c choice) bool { return !c.act }) {
		return nil
	}
	for _, p := range w.all { // nothing is on its way
		if a := p.m.attempt; a != nil && a.stage == queued && !p.m.private && p.waiter != nil {
			t := &p.m.tracks[0]
			if v, _ := t.policy.Judge(w.revision, w.in(target{key: t.prefix, end: t.end}), a.spots[0].entry); v != queue.Blocked {
				return fmt.Errorf("%s waits, though it is %v: %s; in etcd %v", p.name, v, p.m, w.entries)
			}
		}
	}
	if len(choices) > 0 {
		return nil
	}
	for _, p := range w.all {
		if p.waiter != nil && !p.waiter.done {
			return fmt.Errorf("%s waits, and nothing is under way: %s; in etcd %v", p.name, p.m, w.entries)
		}
		if p.m.attempt != nil {
			return fmt.Errorf("%s has an attempt, and nothing is under way: %s", p.name, p.m)
		}
	}
	if len(w.entries) > 0 {
		return fmt.Errorf("left in etcd: %v", w.entries)
	}
	return nil
}

// state is all that matters for what comes.
func (w *model) state() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v %d %v", w.budget, w.revision, w.entries)
	for _, p := range w.all {
		fmt.Fprintf(&b, "\n%s %d %d %d %d %v %v", p.name, p.left, p.lease, p.slots, p.fence, p.waiter != nil && !p.waiter.done, p.why != nil)
		fmt.Fprintf(&b, " late %d chores %d", len(p.late), len(p.chores))
		fmt.Fprintf(&b, " %s answer %v", p.m, p.answer)
		if a := p.m.attempt; a != nil {
			for i := range a.spots {
				s := &a.spots[i]
				fmt.Fprintf(&b, " [%v %d %d %v %v %v %v %v]", s.entered, s.count, s.waiting, s.ahead, s.blocks, s.askNow, s.quorum, s.long)
			}
			fmt.Fprintf(&b, " %d %d %v %v %d", a.uses, a.passed, a.deleteUnknown, a.said, len(a.fates))
		}
		for _, v := range p.views {
			fmt.Fprintf(&b, " view %v %v %d %d %v %d", v.opened, v.v.ready, v.asked, v.v.rev, v.v.entries, len(v.v.backlog))
			for _, events := range v.events {
				fmt.Fprintf(&b, " %d", events[0].Kv.ModRevision)
			}
		}
		for i := range p.m.tracks {
			fmt.Fprintf(&b, " %d", p.m.tracks[i].length)
		}
	}
	return b.String()
}
