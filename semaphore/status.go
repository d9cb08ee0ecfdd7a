package semaphore

import (
	"context"
	"fmt"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/queue"
)

// Status is what is held and waited for, in units.
type Status struct{ Limit, Held, Waiting int64 }

// Status is one consistent read. After the limit has shrunk, units of holders who no longer fit count as waiting,
// until enough came back: etcd does not know who has been told of its grant. ErrLimit: no limit is stored, nobody has
// used the name yet.
func (m *Semaphore) Status(ctx context.Context) (Status, error) {
	ctx, cancel := etcd.Bounded(ctx)
	defer cancel()
	if m.err != nil {
		return Status{}, m.err
	}
	r, err := m.read(ctx)
	if err == nil && r.limit == 0 {
		err = &LimitError{Name: m.name}
	}
	if err != nil {
		return Status{}, m.failed("status of", err)
	}
	held := sum(r.entries[:in(r.entries, r.limit)])
	return Status{r.limit, held, r.total() - held}, nil
}

// Resize changes the limit for everyone, also for those who wait: growing lets them in at once, shrinking revokes
// nothing. It is stored if none was. A Semaphore made with the old limit, or with another, fails with ErrLimit from
// then on; one made with 0 goes on. When ctx ends first, the limit may have been changed.
func (m *Semaphore) Resize(ctx context.Context, limit int64) error {
	ctx, cancel := etcd.Bounded(ctx)
	defer cancel()
	switch {
	case m.err != nil:
		return m.err
	case limit < 1:
		return fmt.Errorf("%w: resize %q to %d: it must be positive", ErrLimit, m.name, limit)
	}
	if err := m.keeper.Closed(); err != nil {
		return m.failed("resize", err)
	}
	if _, err := m.keeper.KV().Put(ctx, m.prefix+limitKey, strconv.FormatInt(limit, 10)); err != nil {
		return m.failed("resize", m.keeper.Explain(err, m.prefix))
	}
	return nil
}

// reading is the line at one revision.
type reading struct {
	revision int64
	limit    int64 // 0: none is stored
	entries  []queue.Entry
	local    int64 // units that goroutines here wait for without an entry
}

func (r *reading) total() int64 { return sum(r.entries) + r.local }

func (m *Semaphore) read(ctx context.Context) (*reading, error) {
	ctx, stop := m.keeper.WhileOpen(ctx)
	defer stop()
	var resp *clientv3.GetResponse
	err := m.keeper.Retry(ctx, ctx, m.prefix, func(ctx context.Context) (err error) {
		resp, err = m.keeper.KV().Get(ctx, m.prefix, clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
		return err
	})
	if err != nil {
		return nil, err
	}
	r := &reading{revision: resp.Header.Revision}
	for _, kv := range resp.Kvs {
		e := queue.Entry{Key: string(kv.Key), Create: kv.CreateRevision, Lease: clientv3.LeaseID(kv.Lease), Value: kv.Value}
		if isLimit(e.Key) {
			r.limit = units(kv.Value)
		} else {
			r.entries = append(r.entries, e)
		}
	}
	return r, nil
}

// limit is the one that counts for m; it returns false if m means another than the stored one.
func (m *Semaphore) limit(r *reading) (int64, bool) {
	switch {
	case r.limit == 0:
		return m.want, m.want > 0
	case m.want == 0:
		return r.limit, true
	}
	return r.limit, r.limit == m.want
}
