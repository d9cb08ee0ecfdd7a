package inspect

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/fenceline/fenceline/internal/etcd"
)

// Where is a copy of the snapshot with those entries for which keep returns true, and the lines that have any. Deadlocks wants the whole.
func (s *Snapshot) Where(keep func(l *Line, e *Entry) bool) *Snapshot {
	some := *s
	some.Lines = nil
	for _, l := range s.Lines {
		part := *l
		part.Entries = nil
		for i := range l.Entries {
			if keep(l, &l.Entries[i]) {
				part.Entries = append(part.Entries, l.Entries[i])
			}
		}
		if len(part.Entries) > 0 {
			some.Lines = append(some.Lines, &part)
		}
	}
	return &some
}

// LeasesLeft asks etcd how long each lease under which an entry of the snapshot stands lives if nobody renews it; negative: it does not live any
// more. That is a request for each lease, some at a time. ctx bounds all of them, or 5 s when ctx has no deadline.
func LeasesLeft(ctx context.Context, c *clientv3.Client, s *Snapshot) (map[clientv3.LeaseID]time.Duration, error) {
	ctx, cancel := etcd.Bounded(ctx)
	defer cancel()
	var mu sync.Mutex
	left := map[clientv3.LeaseID]time.Duration{}
	asks, ctx := errgroup.WithContext(ctx)
	asks.SetLimit(16)
	for _, l := range s.Lines {
		for i := range l.Entries {
			e := &l.Entries[i]
			mu.Lock()
			_, asked := left[e.lease]
			left[e.lease] = max(left[e.lease], -1)
			mu.Unlock()
			if asked || e.lease == clientv3.NoLease {
				continue
			}
			asks.Go(func() error {
				resp, err := c.TimeToLive(ctx, e.lease)
				if err != nil {
					return etcd.Explain(c, err, e.Key)
				}
				mu.Lock()
				defer mu.Unlock()
				left[e.lease] = time.Duration(resp.TTL) * time.Second
				return nil
			})
		}
	}
	return left, asks.Wait()
}
