// Package who finds out whose the entries of a line are: their sessions' records, read once and kept. Nobody needs it to take turns; what cannot
// be found out changes nothing.
package who

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/internal/queue"
	"github.com/fenceline/fenceline/session"
)

// maxRecords is how many records of other sessions one keeps.
const maxRecords = 256

// records are those of other sessions that were read, by lease; nil for a lease that has none. A record does not change
// in what we want to know of it.
type records struct {
	own session.Record

	mu sync.Mutex
	of map[clientv3.LeaseID]*session.Record
}

type recordsKey struct{}

func recordsOf(k *keeper.Keeper) *records {
	return k.Table(recordsKey{}, func() any {
		r := &records{of: map[clientv3.LeaseID]*session.Record{}}
		_ = json.Unmarshal([]byte(k.Record), &r.own) // tests have none
		return r
	}).(*records)
}

func (r *records) get(lease clientv3.LeaseID) (record *session.Record, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	record, known = r.of[lease]
	return record, known
}

// learn reads the record of lease, which is as old as revision, unless it is known.
func (r *records) learn(ctx context.Context, k *keeper.Keeper, lease clientv3.LeaseID, revision int64) {
	if _, known := r.get(lease); known || lease == clientv3.NoLease {
		return
	}
	resp, err := k.KV().ReadAt(ctx, revision, keyspace.Session(k.Namespace, lease))
	if err != nil {
		return
	}
	record := new(session.Record)
	if len(resp.Kvs) == 0 || clientv3.LeaseID(resp.Kvs[0].Lease) != lease || json.Unmarshal(resp.Kvs[0].Value, record) != nil {
		record = nil // a plain etcd client's, or a copy from elsewhere
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.of) >= maxRecords {
		clear(r.of)
	}
	r.of[lease] = record
}

// Known puts e and its session's record together, unless it is not known whether that has one.
func Known(k *keeper.Keeper, prefix string, e queue.Entry, standing session.Standing) (h session.Holder, known bool) {
	owner := e.Owner(prefix)
	h = session.Holder{Key: e.Key, Lease: e.Lease, Standing: standing}
	if standing == session.Holds && e.Lease != clientv3.NoLease && owner != e.Lease {
		h.Standing = session.Kept
	}
	all := recordsOf(k)
	if now := k.Current(); now != nil && now.Has(owner) {
		h.Record, h.Here = all.own, true
		return h, true
	}
	record, known := all.get(owner)
	if record != nil {
		h.Record = *record
	}
	return h, known || owner == clientv3.NoLease
}

// Meet reads what there is to know of e's session, and of a set for what it waits.
func Meet(ctx context.Context, k *keeper.Keeper, prefix string, e queue.Entry, standing session.Standing) (h session.Holder, known bool) {
	if now := k.Current(); now == nil || !now.Has(e.Owner(prefix)) {
		recordsOf(k).learn(ctx, k, e.Owner(prefix), e.Create)
	}
	h, known = Known(k, prefix, e, standing)
	if others := queue.SetOf(e); others != nil && h.Standing == session.Holds {
		if at := waitsAt(ctx, k, others, e.Create); at != "" {
			h.Standing, h.WaitsFor = session.Waits, lockName(k.Namespace, at)
		}
	}
	return h, known
}

// waitsAt is the first of these lines in which somebody is before the entry of that revision; empty: none that is known.
func waitsAt(ctx context.Context, k *keeper.Keeper, prefixes []string, create int64) string {
	var ops []clientv3.Op
	for _, prefix := range prefixes {
		ops = append(ops, clientv3.OpGet(prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(1),
			clientv3.WithMaxCreateRev(create-1), clientv3.WithSerializable()))
	}
	resp, err := k.KV().Txn(ctx).Then(ops...).Commit()
	if err != nil || resp.Header.Revision < create {
		return ""
	}
	for i, prefix := range prefixes {
		if len(resp.Responses[i].GetResponseRange().Kvs) > 0 {
			return prefix
		}
	}
	return ""
}

// lockName is the name of the lock in whose line that is, or the raw prefix.
func lockName(namespace, prefix string) string {
	if name, named := strings.CutPrefix(prefix, namespace+"lock/"); named {
		return keyspace.Unescape(strings.TrimSuffix(name, "/"))
	}
	return strings.TrimSuffix(prefix, "/")
}

// Within bounds how long an answer is kept back for the sake of a name.
const Within = time.Second

// Holders are those of entries, read at their revision or later, whose records are kept or can be read within a moment.
func Holders(ctx context.Context, k *keeper.Keeper, prefix string, entries []queue.Entry, standing session.Standing) []session.Holder {
	ctx, cancel := context.WithTimeout(ctx, Within)
	defer cancel()
	var holders []session.Holder
	for _, e := range entries {
		h, _ := Meet(ctx, k, prefix, e, standing)
		holders = append(holders, h)
	}
	return holders
}

// Own is this session as a holder.
func Own(k *keeper.Keeper) session.Holder {
	return session.Holder{Record: recordsOf(k).own, Here: true, Standing: session.Holds}
}
