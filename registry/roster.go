package registry

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/meter"
)

// roster is all that one Session has registered.
type roster struct {
	keeper *keeper.Keeper
	once   sync.Once
	mu     sync.Mutex
	in     map[string]*Registration // by key
}

type rosterKey struct{}

func rosterOf(k *keeper.Keeper) *roster {
	t := k.Table(rosterKey{}, func() any { return &roster{keeper: k, in: map[string]*Registration{}} }).(*roster)
	t.once.Do(func() {
		k.OnClose(t.part)
		k.OnCensus(t.census)
	})
	return t
}

// census tells for which services an instance of this Session's stands.
func (t *roster) census(c *meter.Census) {
	t.mu.Lock()
	all := slices.Collect(maps.Values(t.in))
	t.mu.Unlock()
	for _, r := range all {
		c.Registration(r.service, r.has(""))
	}
}

// add waits for one with this key that is on its way out.
func (t *roster) add(ctx context.Context, r *Registration) error {
	for {
		t.mu.Lock()
		other := t.in[r.key]
		if other == nil {
			t.in[r.key] = r
			t.mu.Unlock()
			return nil
		}
		t.mu.Unlock()
		if !other.isLeaving() {
			return fmt.Errorf("%w: %q, by this session", ErrDuplicate, r.id)
		}
		select {
		case <-other.removed:
		case <-t.keeper.Context().Done():
			return t.keeper.Closed()
		case <-ctx.Done():
			return fmt.Errorf("%w: an earlier registration of %q by this session is not taken back yet", context.Cause(ctx), r.id)
		}
	}
}

func (t *roster) remove(r *Registration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.in, r.key)
	close(r.removed)
}

// etcd takes 128 operations in a transaction, and 1.5 MiB.
const partAtOnce, partBytes = 100, 512 << 10

// part marks all entries as leaving, before the Session's Close revokes their lease: else that looks like a death.
func (t *roster) part(ctx context.Context, e *keeper.Epoch) {
	var ops []clientv3.Op
	size := 0
	send := func() {
		if len(ops) == 0 {
			return
		}
		if _, err := t.keeper.KV().Txn(ctx).Then(ops...).Commit(); err != nil {
			t.keeper.Log.Debug("registrations not marked as leaving", "error", err)
		}
		ops, size = nil, 0
	}
	for _, r := range t.all() {
		value, ok := r.lastWord(e)
		if !ok {
			continue
		}
		ops, size = append(ops, r.markOp(value)), size+len(r.key)+len(value)
		if len(ops) == partAtOnce || size > partBytes {
			send()
		}
	}
	send()
}

func (t *roster) all() []*Registration {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*Registration, 0, len(t.in))
	for _, r := range t.in {
		all = append(all, r)
	}
	return all
}
