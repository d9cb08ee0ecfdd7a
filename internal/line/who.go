package line

import (
	"context"
	"slices"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/session"
)

// Nobody needs to know who is in the way to take turns. It is asked after a refusal, and while a wait lasts. What cannot be
// found out changes nothing.

const (
	whoWithin = time.Second            // a refusal is kept back no longer than that for the sake of a name
	whoAfter  = 300 * time.Millisecond // a shorter wait costs no read
	whoEvery  = time.Second            // how often a longer one looks whether somebody else is ahead by now
	maxFront  = 32                     // entries from the front of a line, among which a reader looks for a writer
)

// heldError is ErrHeld, with what etcd has shown of the line at revision.
type heldError struct {
	revision int64
	line     []Entry // all of it, in order; nil: that is not known
}

func (e *heldError) Error() string { return ErrHeld.Error() }
func (e *heldError) Unwrap() error { return ErrHeld }

func heldBy(revision int64, line *pb.RangeResponse) *heldError {
	e := &heldError{revision: revision}
	if int(line.Count) == len(line.Kvs) {
		e.line = entriesOf(line.Kvs)
		inOrder(e.line)
	}
	return e
}

// Who says who is in the way of one who was refused. What this Session itself does it knows from memory. Else it costs two
// serializable reads at most: of who is first, unless the refusal told, and of that one's record, which is kept; of a set one
// more, since it may wait elsewhere. The zero Holder: it could not be found out.
func (r *Ref) Who(ctx context.Context, refusal error) (h session.Holder) {
	seen, told := refusal.(*heldError)
	if !told {
		if h, known := r.remembered(); known {
			return h
		}
		seen = &heldError{}
	}
	ctx, cancel := context.WithTimeout(ctx, whoWithin)
	defer cancel()
	line := seen.line
	if line == nil {
		line = r.front(ctx, seen.revision)
	}
	if e, standing, found := r.Rule.first(line); found {
		h, _ = meet(ctx, r.Keeper, r.Prefix, e, standing)
	}
	return h
}

// Holders are those of entries, read at their revision or later, whose records are kept or can be read within a moment.
func Holders(ctx context.Context, k *keeper.Keeper, prefix string, entries []Entry, standing session.Standing) []session.Holder {
	ctx, cancel := context.WithTimeout(ctx, whoWithin)
	defer cancel()
	var holders []session.Holder
	for _, e := range entries {
		h, _ := meet(ctx, k, prefix, e, standing)
		holders = append(holders, h)
	}
	return holders
}

func (r *Ref) remembered() (h session.Holder, known bool) {
	l := r.line.Load()
	if l == nil {
		return h, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.who()
}

// Who says who is in the way of one who wants lane.
func (rw *RW) Who(ctx context.Context, lane Lane, refusal error) session.Holder {
	if l := rw.lanes[1-lane].line.Load(); l != nil {
		l.mu.Lock()
		h, here := l.here()
		l.mu.Unlock()
		if here && (lane == Read || h.Standing == session.Holds) {
			return h
		}
	}
	return rw.lanes[lane].Who(ctx, refusal)
}

// Waited is err, of a wait that ended, with who is ahead of this line's entry, if that is known.
func (r *Ref) Waited(err error) error {
	if l := r.line.Load(); l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.waited(err)
	}
	return err
}

// Own is this session as a holder.
func Own(k *keeper.Keeper) session.Holder {
	return session.Holder{Record: recordsOf(k).own, Here: true, Standing: session.Holds}
}

// waited is Line.waited of one who waited for those of the other lane here to be out.
func (rw *RW) waited(lane Lane, err error) error {
	if l := rw.lanes[1-lane].line.Load(); l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		if h, here := l.here(); here {
			return &session.WaitError{Name: l.name, Holder: h, Err: err}
		}
		return l.waited(err)
	}
	return err
}

// front reads the front of the line, at revision or later.
func (r *Ref) front(ctx context.Context, revision int64) []Entry {
	limit := int64(1)
	if r.Rule.Values {
		limit = maxFront
	}
	resp, err := r.Keeper.KV().ReadAt(ctx, revision, r.Prefix, clientv3.WithPrefix(), clientv3.WithLimit(limit),
		clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	if err != nil {
		return nil
	}
	return entriesOf(resp.Kvs)
}

// first is who of a line is in the way of one who comes last. Entries are in order.
func (r *Rule) first(line []Entry) (e Entry, standing session.Standing, found bool) {
	in, blocked := r.In(line), r.Blocker(line) >= 0
	for i, e := range line {
		if _, mark := keyspace.Transferred("", e.Key[strings.LastIndexByte(e.Key, '/')+1:]); mark {
			continue
		}
		if blocked && r.Joins != nil && r.Joins(e) { // a reader is not in a reader's way
			continue
		}
		if i >= in {
			standing = session.Waits
		}
		return e, standing, true
	}
	return e, standing, false
}

// here is this Session, if it holds, or is asking for its place.
func (l *Line) here() (h session.Holder, here bool) {
	p := l.place
	if p == nil || len(l.holds) == 0 && (p.state != asked || l.queue.Len() == 0) {
		return h, false
	}
	h = session.Holder{Record: recordsOf(l.keeper).own, Key: p.key, Lease: p.lease, Here: true}
	if len(l.holds) == 0 {
		h.Standing = session.Waits
	}
	return h, true
}

// who is who is in the way, as far as memory tells for sure. It is called with the mutex held.
func (l *Line) who() (h session.Holder, known bool) {
	if l.rule.Joins != nil && len(l.holds) > 0 { // whoever comes may join, but for a writer behind
		return l.behindUs()
	}
	if h, here := l.here(); here {
		return h, true
	}
	e, standing, sure := l.ahead()
	if !sure {
		return h, false
	}
	return l.known(e, standing)
}

func (l *Line) behindUs() (h session.Holder, known bool) {
	if l.view == nil {
		return h, false
	}
	entries := slices.Clone(l.view.entries)
	inOrder(entries)
	for _, e := range entries {
		if !l.rule.Joins(e) {
			return l.known(e, session.Waits)
		}
	}
	return h, false
}

// ahead is who is first of those before our entry, or, where only the nearest is known, that one: then it is not sure.
func (l *Line) ahead() (e Entry, standing session.Standing, sure bool) {
	p, v := l.place, l.view
	if p == nil || p.state != queued {
		return e, standing, false
	}
	if v != nil && v.end != "" && v.ready && v.rev >= p.entry.Create && v.tells(p.entry) {
		return l.rule.first(ahead(v.entries, p.entry))
	}
	e = p.pred
	if e.Key != "" && e.Lease == clientv3.NoLease { // read without its value, and so without its lease
		e.Lease = e.owner(l.prefix + l.rule.Dir)
	}
	if p.count > 2 {
		standing = session.Waits
	}
	return e, standing, e.Key != "" && p.count == 2
}

// known is e, if it was met before.
func (l *Line) known(e Entry, standing session.Standing) (h session.Holder, known bool) {
	if l.met.Create == e.Create && l.met.Key == e.Key {
		h = l.met.holder
		if h.WaitsFor == "" && h.Standing != session.Kept {
			h.Standing = standing
		}
		return h, true
	}
	if SetOf(e) != nil { // it may wait elsewhere
		return h, false
	}
	return holderOf(l.keeper, l.prefix+l.rule.Dir, e, standing)
}

// acquaintance is an entry before ours, and whose it is.
type acquaintance struct {
	Entry
	holder session.Holder
}

// wonder finds out who is before p if the wait lasts, and again when somebody else is.
func (l *Line) wonder(p *place) {
	time.AfterFunc(whoAfter, func() { l.wonderAgain(p) })
}

func (l *Line) wonderAgain(p *place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.place != p || p.state != queued || l.queue.Len() == 0 {
		return
	}
	e, standing, _ := l.ahead()
	if e.Key != "" && (l.met.Create != e.Create || l.met.Key != e.Key || SetOf(e) != nil) {
		l.keeper.Go(func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, l.keeper.RequestTimeout())
			defer cancel()
			h, known := meet(ctx, l.keeper, l.prefix+l.rule.Dir, e, standing)
			l.mu.Lock()
			defer l.mu.Unlock()
			if known {
				l.met = acquaintance{e, h}
			}
		})
	}
	time.AfterFunc(whoEvery, func() { l.wonderAgain(p) })
}

// waited is the error of a wait that has ended with its ctx: it says who was in the way, if that is known. It is called with
// the mutex held.
func (l *Line) waited(err error) error {
	if l.place == nil || l.place.state == asked || l.trouble != nil {
		return err
	}
	h, known := l.who()
	if e, standing, _ := l.ahead(); !known && e.Key != "" {
		h, known = l.known(e, standing)
	}
	if !known {
		return err
	}
	return &session.WaitError{Name: l.name, Holder: h, Err: err}
}
