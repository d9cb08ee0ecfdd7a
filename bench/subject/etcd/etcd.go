// Package etcd is the Mutex of etcd's own go.etcd.io/etcd/client/v3/concurrency as a subject of the benchmark, and
// what other subjects on etcd's sessions have in common with it.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/fence"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// New returns etcd's Mutex as its documentation uses it: one client for each contender, and on it a session for each
// goroutine, because two goroutines of one session would both hold the lock. Turns of several names take them one by
// one, in ascending order.
func New() bench.Subject {
	return With("etcd", func(s *concurrency.Session, names []string) bench.Locker {
		mutexes := make([]bench.Mutual, len(names))
		for i, name := range names {
			mutexes[i] = mutex{concurrency.NewMutex(s, name)}
		}
		return bench.InOrder(mutexes)
	})
}

// With returns a subject whose lockers live on etcd's sessions, one each. names come with the prefix below which
// everything happens.
func With(name string, locker func(s *concurrency.Session, names []string) bench.Locker) bench.Subject {
	return subject{name, locker}
}

type subject struct {
	name   string
	locker func(*concurrency.Session, []string) bench.Locker
}

func (s subject) Name() string { return s.name }

func (s subject) Join(_ context.Context, p bench.Place) (bench.Contender, error) {
	client, err := clientv3.New(p.Etcd)
	if err != nil {
		return nil, err
	}
	return &contender{subject: s, place: p, client: client}, nil
}

type contender struct {
	subject subject
	place   bench.Place
	client  *clientv3.Client

	mu       sync.Mutex
	sessions []*concurrency.Session
}

func (c *contender) Locker(ctx context.Context, names []string) (bench.Locker, error) {
	// NewSession would grant the lease under the client's context, which never ends.
	ttl := int(c.place.TTL / time.Second)
	lease, err := c.client.Grant(ctx, int64(ttl))
	if err != nil {
		return nil, fmt.Errorf("grant a lease: %w", err)
	}
	s, err := concurrency.NewSession(c.client, concurrency.WithLease(lease.ID), concurrency.WithTTL(ttl))
	if err != nil {
		return nil, fmt.Errorf("open a session: %w", err)
	}
	c.mu.Lock()
	c.sessions = append(c.sessions, s)
	c.mu.Unlock()
	keys := make([]string, len(names))
	for i, name := range names {
		keys[i] = c.place.Prefix + name
	}
	return c.subject.locker(s, keys), nil
}

// Lease is that of the first session; 0 before there is one.
func (c *contender) Lease() clientv3.LeaseID {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.sessions) == 0 {
		return 0
	}
	return c.sessions[0].Lease()
}

// Close revokes under ctx, which Session.Close would not.
func (c *contender) Close(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, s := range c.sessions {
		s.Orphan()
		_, err := c.client.Revoke(ctx, s.Lease())
		errs = append(errs, err)
	}
	return errors.Join(append(errs, c.client.Close())...)
}

// mutex adds the token to Mutex's own Lock and Unlock.
type mutex struct{ *concurrency.Mutex }

// Token is of the create revision of the holder's key, as IsOwner compares it. The revision in Header is a later one for
// those who had to wait.
func (m mutex) Token() fence.Token {
	owner := m.IsOwner()
	return fence.TokenAt(owner.GetCompare().GetCreateRevision(), 0)
}
