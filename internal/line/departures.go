package line

import (
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/fenceline/fenceline/internal/queue"
)

// Whoever takes over from a holder that died may have to wait for a while. So the machine keeps account of who was ahead and has gone, from the
// first caller with a take-over delay on; whether any of them died, it asks before a grant.

// fear is told of each caller's options.
func (m *machine) fear(i int, opts *Options) {
	t := &m.tracks[i]
	if t.fears || opts.TakeoverDelay == 0 {
		return
	}
	t.fears = true
	if a := m.attempt; a != nil && a.stage == queued && t.view.whole() && t.view.ready && t.view.rev >= a.spots[i].entry.Create {
		m.note(i, t.view.entries, t.view.rev)
	}
}

// note keeps up who is before the i-th entry, from a list of all that are, as of revision, and who has gone since the last one.
func (m *machine) note(i int, entries []queue.Entry, revision int64) {
	s := &m.attempt.spots[i]
	if !m.tracks[i].fears || m.attempt.stage != queued || s.entered || revision < s.beforeRev {
		return
	}
	now := queue.Ahead(entries, s.entry)
	for _, e := range s.before {
		if !slices.ContainsFunc(now, func(o queue.Entry) bool { return o.Create == e.Create }) {
			s.departed = append(s.departed, departure{e, s.beforeRev, revision, m.at.now})
		}
	}
	s.before, s.beforeRev = now, revision
}

// noteEvents keeps up who is before the i-th entry as they leave. Those who only waited are of no interest: nobody has to fear what they still
// do.
func (m *machine) noteEvents(i int, events []*mvccpb.Event) {
	t := &m.tracks[i]
	if !t.fears || m.attempt == nil || m.attempt.stage != queued || m.attempt.spots[i].entered {
		return
	}
	s := &m.attempt.spots[i]
	for _, ev := range events {
		rev := ev.Kv.ModRevision
		if rev <= s.beforeRev || ev.Type != mvccpb.Event_DELETE {
			continue
		}
		j := slices.IndexFunc(s.before, func(e queue.Entry) bool { return e.Key == string(ev.Kv.Key) })
		if j < 0 {
			continue
		}
		if j < t.policy.Entered(s.before) {
			s.departed = append(s.departed, departure{s.before[j], rev - 1, rev, m.at.now})
		}
		s.before = slices.Delete(s.before, j, j+1)
	}
}
