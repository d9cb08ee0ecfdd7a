package line

import (
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/fenceline/fenceline/internal/queue"
)

// target is a range of keys to watch; an empty key means none. Of an entry ahead only the end is of interest: whether it comes again, as it
// will under contention, is not.
type target struct {
	key, end string
	deletes  bool
}

// view is what a machine knows of a range of keys: a list, kept up by a watch that was there before the list was read.
type view struct {
	target
	i       int // of the track
	beside  bool
	ready   bool
	opened  time.Duration
	rev     int64 // every change up to here is in entries
	entries []queue.Entry
	backlog []*mvccpb.Event // arrived before the list

	quietUntil time.Duration // nobody but quietFor stands in the line, as far as that is believed; see whether
	quietFor   *attempt

	// Of a view that hears of deletions only, entries are what an answer has listed, less those who have left since:
	departed map[string]int64 // these, by the revision at which they did
	since    int64            // revision of the list that was read: of departures before it, the watch may have told nothing
	about    int64            // create revision of the entry for which that was listed

	stop func() // the driver's
}

// deaf says whether v hears only of those who leave a line.
func (v *view) deaf() bool { return v.deletes && v.end != "" }

// whole says whether v shows a line, and not one of its entries.
func (v *view) whole() bool { return v != nil && v.end != "" }

// tells says whether v knows the line in which mine stands. One that hears of departures only may still list who was there for an earlier
// entry.
func (v *view) tells(mine queue.Entry) bool { return !v.deaf() || v.about == mine.Create }

// adopt takes what an answer as of revision has listed: mine, and who was ahead of it. An answer that is older than v's own list names some
// who had left by then, of whom no event tells: then that list stands.
func (v *view) adopt(revision int64, ahead []queue.Entry, mine queue.Entry) {
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
	v.entries = slices.DeleteFunc(v.entries, func(e queue.Entry) bool { return v.departed[e.Key] > revision })
	clear(v.departed)
	v.rev, v.about = max(v.rev, revision), mine.Create
}

// adoptJoin takes up whom an enqueue has found ahead. It returns false if that is not known: the answer was lost, or the line is so long that
// it was only counted.
func (v *view) adoptJoin(s *spot) bool {
	known := s.beforeRev == s.entry.Create
	if known {
		v.adopt(s.beforeRev, s.before, s.entry)
	}
	return known
}

// load takes the list.
func (v *view) load(revision int64, entries []queue.Entry) {
	v.entries, v.since, v.rev, v.ready = entries, revision, revision, true
	v.apply(v.backlog)
	v.backlog = nil
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
		at := slices.IndexFunc(v.entries, func(e queue.Entry) bool { return e.Key == key })
		switch {
		case ev.Type == mvccpb.Event_DELETE && at >= 0:
			v.entries = slices.Delete(v.entries, at, at+1)
		case ev.Type == mvccpb.Event_PUT && at >= 0:
			v.entries[at] = queue.EntryOf(ev.Kv)
		case ev.Type == mvccpb.Event_PUT:
			v.entries = append(v.entries, queue.EntryOf(ev.Kv))
		}
	}
	if n := len(events); n > 0 { // all events of a revision come in one answer
		v.rev = max(v.rev, events[n-1].Kv.ModRevision)
	}
}
