package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/internal/queue"
	"github.com/fenceline/fenceline/semaphore"
	"github.com/fenceline/fenceline/session"
)

// mostNamed is how many are named of those who are in the way together.
const mostNamed = 3

// front is the one line that f names, as ls shows it, but with the sessions only of those in front.
func (f *lsFlags) front(ctx context.Context, client *clientv3.Client) (*line, error) {
	resp, err := client.Get(ctx, f.prefixes()[0], clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	found := &listing{Revision: resp.Header.Revision, Lines: f.lines(resp.Kvs, nil)}
	if len(found.Lines) == 0 {
		return &line{Kind: f.kind, Name: f.name}, nil
	}
	l := found.Lines[0]
	f.meet(ctx, client, l.Entries)
	_ = f.askElsewhere(ctx, client, found) // then it counts as one who holds
	return l, nil
}

// meet reads whose the first of these entries are, as far as etcd tells. A record that hangs on another lease is a copy.
func (f *lsFlags) meet(ctx context.Context, client *clientv3.Client, entries []entry) {
	for i := range entries[:min(len(entries), 2*mostNamed)] { // some of them may be our own
		e := &entries[i]
		if e.Session != nil || e.owner == clientv3.NoLease {
			continue
		}
		resp, err := client.Get(ctx, keyspace.Session(f.namespace, e.owner))
		if err != nil {
			return
		}
		record := new(session.Record)
		if len(resp.Kvs) == 1 && clientv3.LeaseID(resp.Kvs[0].Lease) == e.owner && json.Unmarshal(resp.Kvs[0].Value, record) == nil {
			e.Session = record
		}
	}
}

// holder is whom an entry stands for.
func (e *entry) holder() session.Holder {
	h := session.Holder{Key: e.Key, Lease: e.lease, WaitsFor: e.waitsFor}
	if e.Session != nil {
		h.Record = *e.Session
	}
	switch e.State {
	case stateWaits:
		h.Standing = session.Waits
	case stateReleased:
		h.Standing = session.Kept
	}
	return h
}

// inTheWay says in words who keeps the entry that hangs on lease from entering, or all who come if none does. Empty: nobody.
// mode is that of a rwlock.
func (l *line) inTheWay(lease clientv3.LeaseID, mode string) string {
	ahead := l.ahead(lease)
	if l.Kind == semaphoreKind {
		return l.unitsTaken(ahead)
	}
	if mode == queue.ReadValue {
		ahead = slices.DeleteFunc(slices.Clone(ahead), func(e entry) bool { return e.Mode == queue.ReadValue })
	}
	if len(ahead) == 0 {
		return ""
	}
	first := ahead[0].holder()
	text := first.Describe()
	switch {
	case l.Kind == gateKind:
		return "closed by " + first.String()
	case (l.Kind == electionKind || l.Kind == prefixKind) && first.Standing == session.Holds:
		text = first.String() + " leads"
	}
	return text
}

// waiting is inTheWay for one who waits: it says how many are ahead as well.
func (l *line) waiting(lease clientv3.LeaseID, mode string) string {
	text := l.inTheWay(lease, mode)
	if ahead := l.ahead(lease); len(ahead) > 1 && len(ahead) < len(l.Entries) && l.Kind != semaphoreKind {
		text = fmt.Sprintf("%d ahead, %s", len(ahead), text)
	}
	return text
}

// ahead are the entries before the one that hangs on lease, or all of them if none does.
func (l *line) ahead(lease clientv3.LeaseID) []entry {
	mine := slices.IndexFunc(l.Entries, func(e entry) bool { return lease != clientv3.NoLease && e.owner == lease })
	if mine < 0 {
		return l.Entries
	}
	return l.Entries[:mine]
}

// unitsTaken says by whom.
func (l *line) unitsTaken(ahead []entry) string {
	var taken int64
	full := &semaphore.ExhaustedError{}
	for i := range ahead {
		e := &ahead[i]
		taken += e.Units
		if e.State != stateHolds {
			continue
		}
		if full.Holding++; len(full.Holders) < mostNamed {
			full.Holders = append(full.Holders, e.holder())
		}
	}
	by := full.By()
	if by == "" {
		return ""
	}
	return fmt.Sprintf("%d of %d units are held or waited for, held by %s", taken, l.Limit, by)
}
