package line

import (
	"context"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
)

// view is what a line knows of a range of keys: a list, kept up by a watch that was there before the list was read.
// All of it is guarded by the line's mutex.
type view struct {
	target
	line   *Line
	cancel func()

	ready   bool
	opened  time.Time
	rev     int64 // every change up to here is in entries
	entries []Entry
	backlog []*mvccpb.Event // arrived before the list

	quietUntil time.Duration // nobody but quietFor stands in the line, as far as that is believed; see whether
	quietFor   *place

	// Of a view that hears of deletions only, entries are what an answer has listed, less those who have left since:
	// these, by the revision at which they did.
	departed map[string]int64
	since    int64 // revision of the list that was read: of departures before it, the watch may have told nothing
	about    int64 // create revision of the entry for which that was listed
}

// deaf says whether v hears only of those who leave a line.
func (v *view) deaf() bool { return v.deletes && v.end != "" }

// adopt takes what an answer as of revision has listed: mine, and who was ahead of it. An answer that is older than v's
// own list names some who had left by then, of whom no event tells: then that list stands.
func (v *view) adopt(revision int64, ahead []Entry, mine Entry) {
	if revision < v.since {
		v.about = mine.Create
		return
	}
	v.entries = append(v.entries[:0:0], mine)
	for _, e := range ahead {
		if e.Key >= v.key && e.Key < v.end {
			v.entries = append(v.entries, e)
		}
	}
	v.entries = slices.DeleteFunc(v.entries, func(e Entry) bool { return v.departed[e.Key] > revision })
	clear(v.departed)
	v.rev, v.about = max(v.rev, revision), mine.Create
}

// tells says whether v knows the line in which mine stands. One that hears of departures only may still list who was
// there for an earlier entry.
func (v *view) tells(mine Entry) bool { return !v.deaf() || v.about == mine.Create }

func (v *view) find(key string) (Entry, bool) {
	for _, e := range v.entries {
		if e.Key == key {
			return e, true
		}
	}
	return Entry{}, false
}

// adoptJoin takes up whom p's enqueue has found ahead. It answers false if that is not known: the answer was lost, or
// the line is so long that it was only counted.
func (v *view) adoptJoin(p *place) bool {
	known := p.beforeRev == p.entry.Create
	if known {
		v.adopt(p.beforeRev, p.before, p.entry)
	}
	return known
}

// apply takes events of the range. Those of a revision that is known already are dropped.
func (v *view) apply(events []*mvccpb.Event) {
	for _, ev := range events {
		if ev.Kv.ModRevision <= v.rev {
			continue
		}
		key := string(ev.Kv.Key)
		if v.deaf() {
			v.departed[key] = ev.Kv.ModRevision
		}
		at := -1
		for i := range v.entries {
			if v.entries[i].Key == key {
				at = i
			}
		}
		switch {
		case ev.Type == mvccpb.Event_DELETE && at >= 0:
			v.entries = append(v.entries[:at], v.entries[at+1:]...)
		case ev.Type == mvccpb.Event_PUT && at >= 0:
			v.entries[at] = entryOf(ev.Kv)
		case ev.Type == mvccpb.Event_PUT:
			v.entries = append(v.entries, entryOf(ev.Kv))
		}
	}
	if n := len(events); n > 0 { // all events of a revision come in one answer
		v.rev = max(v.rev, events[n-1].Kv.ModRevision)
	}
}

func entryOf(kv *mvccpb.KeyValue) Entry {
	return Entry{Key: string(kv.Key), Create: kv.CreateRevision, Mod: kv.ModRevision, Lease: clientv3.LeaseID(kv.Lease), Value: kv.Value}
}

func entriesOf(kvs []*mvccpb.KeyValue) []Entry {
	entries := make([]Entry, len(kvs))
	for i, kv := range kvs {
		entries[i] = entryOf(kv)
	}
	return entries
}

// Created, Events and Ended are called by the session's watch stream.
func (v *view) Created(revision int64) {
	v.line.keeper.Go(func(ctx context.Context) { v.load(ctx, revision) })
}

func (v *view) Events(events []*mvccpb.Event) {
	l := v.line
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.view != v {
		return
	}
	if !v.ready {
		v.backlog = append(v.backlog, events...)
		return
	}
	if v.end != "" {
		l.noteEvents(events)
	}
	v.apply(events)
	l.changed()
}

func (v *view) Ended(err error) {
	l := v.line
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.view == v {
		l.viewFailed(err)
	}
}

// load reads the list, as of revision or later: the watch delivers what is newer.
func (v *view) load(ctx context.Context, revision int64) {
	v.line.mu.Lock()
	if p := v.line.place; revision > 0 && p != nil && p.state != asked {
		revision = max(revision, p.entry.Create)
	}
	v.line.mu.Unlock()
	var opts []clientv3.OpOption
	if v.end != "" {
		opts = append(opts, clientv3.WithRange(v.end))
	}
	resp, err := v.line.readAt(ctx, revision, v.key, opts...)
	l := v.line
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.view != v {
		return
	}
	if err != nil {
		v.cancel()
		l.viewFailed(err)
		return
	}
	if p := l.place; p != nil && p.state != asked && resp.Header.Revision < min(revision, p.entry.Create) {
		l.rewound(p, resp.Header.Revision) // the entry was there before we asked
		l.proceed()
		return
	}
	v.entries = entriesOf(resp.Kvs)
	v.since = resp.Header.Revision
	v.rev, v.ready = v.since, true
	v.apply(v.backlog)
	v.backlog = nil
	if p := l.place; p != nil && p.state == queued && v.end != "" {
		switch {
		case v.rev >= p.entry.Create:
			l.note(v.entries, v.rev)
			v.about = p.entry.Create
		case v.deaf(): // nothing will tell it of our entry
			p.check = true
		}
	}
	l.viewTries = 0
	l.changed()
}

// readAt reads at revision at least; zero: as the quorum has it.
func (l *Line) readAt(ctx context.Context, revision int64, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, l.keeper.RequestTimeout())
	defer cancel()
	return l.keeper.KV().ReadAt(ctx, revision, key, opts...)
}

// openView replaces the view by one of t.
func (l *Line) openView(t target) {
	l.closeView()
	v := &view{line: l, target: t, opened: time.Now()}
	if v.deaf() {
		v.departed = map[string]int64{}
	}
	l.view = v
	if t.deletes {
		v.cancel = l.keeper.Watch().Deletes(t.key, t.end, v)
	} else {
		v.cancel = l.keeper.Watch().Watch(t.key, t.end, v)
	}
}

func (l *Line) closeView() {
	if l.view != nil {
		l.view.cancel()
		l.view = nil
	}
}

// viewFailed forgets a view that has ended, and looks again in a while whether one is wanted.
func (l *Line) viewFailed(err error) {
	l.view = nil
	l.viewTries++
	l.keeper.Log.Debug("watch ended", "prefix", l.prefix, "error", err)
	wait := etcd.Steady.Wait(l.viewTries)
	l.viewAfter = time.Now().Add(wait)
	time.AfterFunc(wait, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.adjustView()
	})
}
