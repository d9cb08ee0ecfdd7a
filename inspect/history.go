package inspect

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/internal/mirror"
	"github.com/fenceline/fenceline/internal/since"
	"github.com/fenceline/fenceline/session"
)

// How a hold has ended, in Held.End.
const (
	EndReleased = "released" // its entry was deleted, by its process or by hand
	EndDied     = "died"     // its lease ran out, or was revoked
	EndClosed   = "closed"   // its session was closed
	EndBroken   = "broken"   // see Break
)

// Held is an entry that has entered: one hold, or several in a row of goroutines of one process, or of readers that share it.
type Held struct {
	Token fence.Token     `json:"token"` // of the first hold
	Key   string          `json:"key"`
	Who   string          `json:"who"`
	Of    *session.Record `json:"session,omitempty"` // nil: unknown
	Owner string          `json:"owner,omitempty"`
	Mode  string          `json:"mode,omitempty"`
	Units int64           `json:"units,omitempty"`
	Value string          `json:"value,omitempty"`

	// Revisions of etcd. Entered is 0 if that was before the history begins; Left is 0 if it holds.
	Joined  int64 `json:"joined"`
	Entered int64 `json:"entered,omitempty"`
	Left    int64 `json:"left,omitempty"`

	// Times, as processes have noted them; zero: not known. etcd keeps none. When one has left, the next one to enter tells.
	JoinedAt  time.Time `json:"joined_at,omitzero"`
	EnteredAt time.Time `json:"entered_at,omitzero"`
	LeftAt    time.Time `json:"left_at,omitzero"`

	End    string               `json:"end,omitempty"` // empty: it holds
	Broken *session.BrokenError `json:"broken,omitempty"`
}

// For is how long it has held; zero: not known.
func (h *Held) For() time.Duration {
	if h.EnteredAt.IsZero() || h.LeftAt.IsZero() {
		return 0
	}
	return h.LeftAt.Sub(h.EnteredAt)
}

// History is who has held kind and name, first come first, from etcd's own revisions: as far back as those go, which is to the last compaction.
// It costs nobody anything until it is asked for, and then etcd reads all that has happened to that name since. Entries that were in when the
// history begins have no Entered. Who only waited is not in it. Of a lock that is one of a set, it tells when that one was free for it.
//
// ctx bounds it, or 5 s when ctx has no deadline. The user's role needs to read the line, <namespace>session/, <namespace>since/ and
// <namespace>broken/.
func History(ctx context.Context, c *clientv3.Client, kind, name string, opts ...Option) ([]Held, error) {
	o, err := optionsOfLine(kind, name, opts, Option.any)
	if err != nil {
		return nil, err
	}
	ctx, cancel := etcd.Bounded(ctx)
	defer cancel()
	p, err := o.past(ctx, c)
	if err != nil {
		return nil, o.explain(c, err)
	}
	return o.replay(p), nil
}

// past is what stood at a revision, and what happened since.
type past struct {
	base   int64
	stood  []*mvccpb.KeyValue
	events []*mvccpb.Event
}

func (o *options) past(ctx context.Context, c *clientv3.Client) (*past, error) {
	prefixes, notes := o.ranges()
	if notes != "" {
		prefixes = append(prefixes, notes)
	}
	prefixes = append(prefixes, keyspace.BrokenHolds(o.namespace))
	p := &past{}
	for {
		now, err := c.Get(ctx, o.entries(), clientv3.WithCountOnly())
		if err != nil {
			return nil, err
		}
		p.events, err = mirror.Past(ctx, c, prefixes, p.base, now.Header.Revision)
		var compacted *mirror.CompactedError
		switch {
		case errors.As(err, &compacted) && compacted.Revision > p.base:
			p.base = compacted.Revision
			continue
		case err != nil:
			return nil, err
		case p.base == 0:
			return p, nil
		}
		for _, prefix := range prefixes {
			resp, err := c.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(p.base))
			if err != nil {
				return nil, err
			}
			p.stood = append(p.stood, resp.Kvs...)
		}
		return p, nil
	}
}

// life is that of an entry.
type life struct {
	Held
	entry Entry
}

// replay has everything happen once more.
func (o *options) replay(p *past) []Held {
	r := &rerun{options: o, keys: map[string]*mvccpb.KeyValue{}, lives: map[int64]*life{}, notes: map[int64]since.Note{},
		records: map[clientv3.LeaseID]*session.Record{}, broken: map[int64]*session.BrokenError{}, when: map[int64]time.Time{}}
	for _, kv := range p.stood {
		r.put(kv)
	}
	r.judge(0)
	for events := p.events; len(events) > 0; { // all of a revision together
		n, at := 1, events[0].Kv.ModRevision
		for n < len(events) && events[n].Kv.ModRevision == at {
			n++
		}
		r.apply(at, events[:n])
		events = events[n:]
	}
	return r.held()
}

type rerun struct {
	*options
	keys    map[string]*mvccpb.KeyValue // of the line
	lives   map[int64]*life             // by create revision
	notes   map[int64]since.Note
	records map[clientv3.LeaseID]*session.Record // also of those that have gone
	broken  map[int64]*session.BrokenError
	when    map[int64]time.Time // when a revision was, as far as somebody has said
}

// put takes a key. It returns whether that changes the line.
func (r *rerun) put(kv *mvccpb.KeyValue) bool {
	key := string(kv.Key)
	if lease, ok := r.sessionOf(key); ok {
		record := new(session.Record)
		if json.Unmarshal(kv.Value, record) == nil {
			r.records[lease] = record
		}
		return false
	}
	switch {
	case strings.HasPrefix(key, keyspace.Notes(r.namespace)):
		var n since.Note
		if json.Unmarshal(kv.Value, &n) == nil {
			r.notes[n.Revision] = n
			r.when[n.Revision] = n.Waits
		}
		return false
	case strings.HasPrefix(key, keyspace.BrokenHolds(r.namespace)):
		by := new(session.BrokenError)
		if json.Unmarshal(kv.Value, by) == nil {
			r.broken[kv.ModRevision] = by
			r.when[kv.ModRevision] = by.At
		}
		return false
	}
	r.keys[key] = kv
	return true
}

func (r *rerun) apply(at int64, events []*mvccpb.Event) {
	changed := false
	gone := map[clientv3.LeaseID]bool{} // sessions
	var left []*mvccpb.KeyValue
	for _, ev := range events {
		key := string(ev.Kv.Key)
		if ev.Type != mvccpb.Event_DELETE {
			changed = r.put(ev.Kv) || changed
			continue
		}
		if lease, ok := r.sessionOf(key); ok {
			gone[lease] = true
		}
		if kv := r.keys[key]; kv != nil {
			delete(r.keys, key)
			left, changed = append(left, kv), true
		}
	}
	for _, kv := range left {
		if l := r.lives[kv.CreateRevision]; l != nil && l.Left == 0 {
			l.Left = at
			record := r.records[l.entry.owner]
			switch by := r.broken[at]; {
			case by != nil:
				l.End, l.Broken = EndBroken, by
			case gone[l.entry.owner] && record != nil && record.Closing:
				l.End = EndClosed
			case gone[l.entry.owner]:
				l.End = EndDied
			default:
				l.End = EndReleased
			}
		}
	}
	if changed {
		r.judge(at)
	}
}

// judge looks at who is in, at a revision.
func (r *rerun) judge(at int64) {
	kvs := make([]*mvccpb.KeyValue, 0, len(r.keys))
	for _, kv := range r.keys {
		kvs = append(kvs, kv)
	}
	for _, l := range r.snapshot(at, kvs).Lines {
		for _, e := range l.Entries {
			if e.State != Holds || r.lives[e.Revision] != nil {
				continue
			}
			r.lives[e.Revision] = &life{entry: e, Held: Held{Token: e.Token, Key: e.Key, Mode: e.Mode, Units: e.Units, Value: e.value(), Joined: e.Revision, Entered: at}}
		}
	}
}

// held are those who have entered, in that order, with what was heard of them by the end.
func (r *rerun) held() []Held {
	for _, l := range r.lives {
		n := r.notes[l.Joined]
		l.JoinedAt, l.EnteredAt, l.Owner = n.Waits, n.Holds, n.Owner
		if !l.EnteredAt.IsZero() && l.Entered > 0 && r.when[l.Entered].IsZero() {
			r.when[l.Entered] = l.EnteredAt
		}
	}
	var all []Held
	for _, l := range r.lives {
		l.LeftAt = r.when[l.Left]
		if l.EnteredAt.IsZero() && l.Entered > 0 {
			l.EnteredAt = r.when[l.Entered]
		}
		l.entry.Session = r.records[l.entry.owner]
		l.Of, l.Who = l.entry.Session, l.entry.Who()
		all = append(all, l.Held)
	}
	slices.SortFunc(all, func(a, b Held) int { return cmp.Or(cmp.Compare(a.Entered, b.Entered), cmp.Compare(a.Joined, b.Joined)) })
	return all
}
