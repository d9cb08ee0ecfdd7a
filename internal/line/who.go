package line

import (
	"context"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/queue"
	"github.com/fenceline/fenceline/internal/who"
	"github.com/fenceline/fenceline/session"
)

// Nobody needs to know who is in the way to take turns. It is asked after a refusal, and while a wait lasts.

// maxFront is how many entries from the front of a line are read, among which a reader looks for a writer.
const maxFront = 32

// heldError is ErrHeld, with what etcd has shown of the line at revision.
type heldError struct {
	revision int64
	line     []queue.Entry // all of it, in order; nil: that is not known
}

func (e *heldError) Error() string { return ErrHeld.Error() }
func (e *heldError) Unwrap() error { return ErrHeld }

func heldBy(x *answer) *heldError {
	e := &heldError{revision: x.revision}
	if len(x.seen) > 0 && int(x.seen[0].count) == len(x.seen[0].entries) {
		e.line = x.seen[0].entries
		queue.InOrder(e.line)
	}
	return e
}

func standingOf(entered bool) session.Standing {
	if entered {
		return session.Holds
	}
	return session.Waits
}

// Who says who is in the way of one who was refused. What this Session itself does it knows from memory. Else it costs two serializable reads
// at most: of who is first, unless the refusal told, and of that one's record, which is kept; of a set one more, since it may wait elsewhere.
// The zero Holder: it could not be found out.
func (r *Ref) Who(ctx context.Context, refusal error) (h session.Holder) {
	seen, told := refusal.(*heldError)
	if !told {
		if h, known := r.remembered(); known {
			return h
		}
		seen = &heldError{}
	}
	ctx, cancel := context.WithTimeout(ctx, who.Within)
	defer cancel()
	line := seen.line
	if line == nil {
		line = r.front(ctx, seen.revision)
	}
	if e, entered, found := r.Policy.First(line); found {
		h, _ = who.Meet(ctx, r.Keeper, r.Prefix, e, standingOf(entered)) // what could not be found out is left out
	}
	return h
}

// front reads the front of the line, at revision or later.
func (r *Ref) front(ctx context.Context, revision int64) []queue.Entry {
	limit := int64(1)
	if r.Policy.Values {
		limit = maxFront
	}
	resp, err := r.Keeper.KV().ReadAt(ctx, revision, r.Prefix, clientv3.WithPrefix(), clientv3.WithLimit(limit),
		clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	if err != nil {
		return nil
	}
	return queue.EntriesOf(resp.Kvs)
}

// at calls f with the line, if there is one, with its mutex held.
func (r *Ref) at(f func(l *Line)) {
	if l := r.line.Load(); l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		f(l)
	}
}

func (r *Ref) remembered() (h session.Holder, known bool) {
	r.at(func(l *Line) { h, known = l.who(0) })
	return h, known
}

// Here is this Session, if it holds, or is asking for its entry.
func (r *Ref) Here() (h session.Holder, here bool) {
	r.at(func(l *Line) { h, here = l.here() })
	return h, here
}

// Waited is err, of a wait that ended, with who is ahead of this line's entry, if that is known.
func (r *Ref) Waited(err error) error {
	r.at(func(l *Line) { err = l.waited(err) })
	return err
}

// here is Here, called with the mutex held as all that follows.
func (l *Line) here() (h session.Holder, here bool) {
	m := &l.m
	a := m.attempt
	if a == nil || len(m.holds) == 0 && (a.stage != sent || m.queue.Len() == 0) {
		return h, false
	}
	h = who.Own(l.keeper)
	h.Key, h.Lease = a.spots[0].key, a.spots[0].lease
	if len(m.holds) == 0 {
		h.Standing = session.Waits
	}
	return h, true
}

// who is who is in the way in the i-th line, as far as memory tells for sure.
func (l *Line) who(i int) (h session.Holder, known bool) {
	m := &l.m
	if m.shares() && len(m.holds) > 0 { // whoever comes may share, but for a writer behind
		return l.behindUs()
	}
	if h, here := l.here(); here {
		return h, true
	}
	e, entered, sure := m.ahead(i)
	if !sure {
		return h, false
	}
	return l.known(i, e, standingOf(entered))
}

func (l *Line) behindUs() (h session.Holder, known bool) {
	t := &l.m.tracks[0]
	if t.view == nil {
		return h, false
	}
	entries := slices.Clone(t.view.entries)
	queue.InOrder(entries)
	for _, e := range entries {
		if !t.policy.Shares(e) {
			return l.known(0, e, session.Waits)
		}
	}
	return h, false
}

// ahead is who is first of those before the i-th entry, or, where only the nearest is known, that one: then it is not sure.
func (m *machine) ahead(i int) (e queue.Entry, entered, sure bool) {
	a, t := m.attempt, &m.tracks[i]
	if a == nil || a.stage != queued || a.spots[i].entered {
		return e, false, false
	}
	s, v := &a.spots[i], t.view
	if v.whole() && v.ready && v.rev >= s.entry.Create && v.tells(s.entry) {
		return t.policy.First(queue.Ahead(v.entries, s.entry))
	}
	e = s.ahead
	if e.Key != "" && e.Lease == clientv3.NoLease { // read without its value, and so without its lease
		e.Lease = e.Owner(t.dir())
	}
	return e, s.count <= 2, e.Key != "" && s.count == 2
}

// known is e, if it was met before.
func (l *Line) known(i int, e queue.Entry, standing session.Standing) (h session.Holder, known bool) {
	t := &l.m.tracks[i]
	if t.met.Create == e.Create && t.met.Key == e.Key {
		h = t.met.holder
		if h.WaitsFor == "" && h.Standing != session.Kept {
			h.Standing = standing
		}
		return h, true
	}
	if queue.SetOf(e) != nil { // it may wait elsewhere
		return h, false
	}
	return who.Known(l.keeper, t.dir(), e, standing)
}

// waited is the error of a wait that has ended with its ctx: it says who was in the way, if that is known.
func (l *Line) waited(err error) error {
	a := l.m.attempt
	if a == nil || a.stage == sent || l.m.trouble != nil {
		return err
	}
	i := max(slices.IndexFunc(a.spots, func(s spot) bool { return !s.entered }), 0)
	h, known := l.who(i)
	if e, entered, _ := l.m.ahead(i); !known && e.Key != "" {
		h, known = l.known(i, e, standingOf(entered))
	}
	if !known {
		return err
	}
	return &session.WaitError{Name: l.m.tracks[i].ref.Name, Holder: h, Err: err}
}
