package keeper

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keyspace"
)

// A keeper can begin with a lease that lives, of a session that was given up without its lease (Orphan), or whose process is gone. What
// stands under the lease is inherited: whoever asks for a line finds the entry of its predecessor there.

// MaxGeneration is how often a lease can be handed on with what is held under it. Each generation has one turn of an entry's tokens.
const MaxGeneration = 63

// ErrNoLease: the lease to go on under does not exist.
var ErrNoLease = fmt.Errorf("%w: it cannot be continued", ErrRevoked)

// heritage is what an epoch has found under its lease.
type heritage struct {
	adopted    bool // the lease was another session's
	generation int  // how often it was handed on

	mu   sync.Mutex
	keys []Heirloom // that nobody has claimed yet
}

// Heirloom is a key that an earlier session of the lease has left.
type Heirloom struct {
	Key    string
	Create int64 // its create revision
}

// Generation is how often the lease was handed on, from one session to another.
func (e *Epoch) Generation() int { return e.heritage.generation }

// Inherited are the keys directly under prefix that an earlier session of the lease has left, and that nobody has claimed, the oldest first.
func (e *Epoch) Inherited(prefix string) (keys []Heirloom) {
	if !e.heritage.adopted {
		return nil
	}
	e.heritage.mu.Lock()
	defer e.heritage.mu.Unlock()
	for _, h := range e.heritage.keys {
		if rest, ok := strings.CutPrefix(h.Key, prefix); ok && !strings.Contains(rest, "/") {
			keys = append(keys, h)
		}
	}
	return keys
}

// Claim takes those of these keys that nobody has claimed meanwhile: whoever claims one takes it over, or deletes it, and nobody else does.
func (e *Epoch) Claim(keys []Heirloom) (claimed []Heirloom) {
	e.heritage.mu.Lock()
	defer e.heritage.mu.Unlock()
	e.heritage.keys = slices.DeleteFunc(e.heritage.keys, func(h Heirloom) bool {
		mine := slices.Contains(keys, h)
		if mine {
			claimed = append(claimed, h)
		}
		return mine
	})
	return claimed
}

// Unclaim gives claimed keys back.
func (e *Epoch) Unclaim(keys []Heirloom) {
	e.heritage.mu.Lock()
	defer e.heritage.mu.Unlock()
	e.heritage.keys = append(e.heritage.keys, keys...)
	slices.SortStableFunc(e.heritage.keys, func(a, b Heirloom) int { return cmp.Compare(a.Create, b.Create) })
}

// continued is an epoch under the lease that the keeper was given.
func (k *Keeper) continued() *Epoch {
	e := k.epochOf(&leasehold{id: k.Lease, record: keyspace.Session(k.Namespace, k.Lease)})
	e.heritage.adopted = true
	return e
}

// adopt makes one attempt at what is still missing of an epoch under a lease that another session has begun. What that may have sent before
// it fails once the record is written; so the keys are listed after that.
func (k *Keeper) adopt(ctx context.Context, e *Epoch) error {
	if e.heritage.generation == 0 {
		t0 := k.clock.Elapsed()
		r, err := k.leases.Renew(ctx, e.id)
		if errors.Is(err, ErrRevoked) {
			return fmt.Errorf("lease %s: %w", keyspace.Lease(e.id), ErrNoLease)
		}
		if err != nil {
			return err
		}
		record, err := k.leases.Recorded(ctx, e.record)
		if err != nil {
			return err
		}
		if strings.Contains(record, `"witness":"`) {
			return fmt.Errorf("lease %s: %w: %w", keyspace.Lease(e.id), errWitnessed, ErrNoLease)
		}
		e.heritage.generation = generation(record) + 1
		k.Record = handedOn(k.Record, e.heritage.generation)
		e.extend(t0, r.ttl)
	}
	at, err := k.leases.Record(ctx, e.id, e.record, k.recordOf(e, e.id))
	if err != nil {
		return err
	}
	keys, err := k.leases.Keys(ctx, e.id)
	if err != nil {
		return err
	}
	e.heritage.keys = keys
	e.from(at.cluster)
	e.RecordWritten(at.revision)
	return e.Err()
}

// generation reads how often the lease was handed on before the session of that record.
func generation(record string) int {
	var r struct {
		Continued int `json:"continued"`
	}
	if json.Unmarshal([]byte(record), &r) != nil || r.Continued < 0 {
		return 0
	}
	return r.Continued
}

// handedOn is the record of a session that goes on under another's lease.
func handedOn(record string, generation int) string {
	return fmt.Sprintf(`%s,"continued":%d}`, strings.TrimSuffix(record, "}"), generation)
}

// Recorded is the value of a session's record; empty: there is none.
func (l etcdLeases) Recorded(ctx context.Context, key string) (string, error) {
	resp, err := l.client.Get(ctx, key)
	if err != nil || len(resp.Kvs) == 0 {
		return "", err
	}
	return string(resp.Kvs[0].Value), nil
}

// Keys are those that hang on the lease, in the order in which they were created.
func (l etcdLeases) Keys(ctx context.Context, id clientv3.LeaseID) (keys []Heirloom, err error) {
	resp, err := l.client.TimeToLive(ctx, id, clientv3.WithAttachedKeys())
	if err != nil {
		return nil, err
	}
	for some := range slices.Chunk(resp.Keys, 100) { // etcd allows 128 by default
		var gets []clientv3.Op
		for _, key := range some {
			gets = append(gets, clientv3.OpGet(string(key), clientv3.WithKeysOnly()))
		}
		resp, err := l.client.Txn(ctx).Then(gets...).Commit()
		if err != nil {
			return nil, err
		}
		for _, r := range resp.Responses {
			for _, kv := range r.GetResponseRange().Kvs {
				keys = append(keys, Heirloom{string(kv.Key), kv.CreateRevision})
			}
		}
	}
	slices.SortStableFunc(keys, func(a, b Heirloom) int { return cmp.Compare(a.Create, b.Create) })
	return keys, nil
}

// Inherited is that of the present epoch.
func (k *Keeper) Inherited(prefix string) []Heirloom {
	if k.Lease == clientv3.NoLease {
		return nil
	}
	if e := k.Current(); e != nil {
		return e.Inherited(prefix)
	}
	return nil
}
