package cron

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// Every Scheduler that runs says which jobs it has, under its Session's lease, for people only: in keys that no job can have, since
// a name's percent sign is escaped. No decision rests on them.

const (
	schedulers = "cron/%at/"
	perKey     = 500 // jobs
)

func schedulersIn(namespace string) string { return namespace + schedulers }

// announcement is the value of such a key.
type announcement struct {
	By   string      `json:"by"`
	Jobs []announced `json:"jobs"`
}

type announced struct {
	Name     string `json:"name"`
	Schedule string `json:"schedule"`
	Zone     string `json:"zone"`
}

// announce keeps the keys up until ctx ends, and then deletes them.
func (c *Scheduler) announce(ctx context.Context) {
	var at *keeper.Epoch
	keys, said := 0, 0
	for ctx.Err() == nil {
		e, err := c.keeper.Live(ctx)
		if err != nil {
			break
		}
		if n := c.count(); e != at || n != said { // jobs only come
			values := c.announcements()
			if err := c.put(ctx, e, values, keys); err != nil {
				c.keeper.Log.Debug("the jobs that are here were not announced", "error", err)
			} else {
				at, said, keys = e, n, len(values)
			}
		}
		t := time.NewTimer(nap)
		select {
		case <-t.C:
		case <-e.Done():
		case <-ctx.Done():
		}
		t.Stop()
	}
	if at != nil && at.Err() == nil {
		within, cancel := context.WithTimeout(c.keeper.Context(), nap)
		defer cancel()
		_ = c.put(within, at, nil, keys) // else they go with the lease
	}
}

func (c *Scheduler) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.jobs)
}

func (c *Scheduler) announcements() (values []string) {
	c.mu.Lock()
	var jobs []announced
	for name, j := range c.jobs {
		jobs = append(jobs, announced{name, j.rules.text, j.rules.zone})
	}
	c.mu.Unlock()
	slices.SortFunc(jobs, func(a, b announced) int { return strings.Compare(a.Name, b.Name) })
	for some := range slices.Chunk(jobs, perKey) {
		if text, err := json.Marshal(announcement{c.by, some}); err == nil {
			values = append(values, string(text))
		}
	}
	return values
}

// put writes the values, and deletes what there was more of. Each is a request of its own: together they may be too large.
func (c *Scheduler) put(ctx context.Context, e *keeper.Epoch, values []string, before int) error {
	prefix := schedulersIn(c.keeper.Namespace)
	for i := range max(len(values), before) {
		key := keyspace.Entry(prefix, e.ID(), i) + "-" + strings.TrimSuffix(c.mine, "-")
		op := clientv3.OpDelete(key)
		if i < len(values) {
			op = clientv3.OpPut(key, values[i], clientv3.WithLease(e.ID()))
		}
		try, cancel := context.WithTimeout(ctx, c.keeper.RequestTimeout())
		_, err := c.keeper.KV().Do(try, op)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// readiness is what Schedulers say of a job.
type readiness struct {
	announced
	who []string
}

// readyIn is which jobs Schedulers have, by name. What cannot be read is nobody's.
func readyIn(prefix string, kvs []*mvccpb.KeyValue) map[string]readiness {
	of := map[string]readiness{}
	for _, kv := range kvs {
		var a announcement
		if !strings.HasPrefix(string(kv.Key), prefix) || json.Unmarshal(kv.Value, &a) != nil {
			continue
		}
		for _, j := range a.Jobs {
			r := of[j.Name]
			r.announced = j
			r.who = append(r.who, a.By)
			of[j.Name] = r
		}
	}
	return of
}
