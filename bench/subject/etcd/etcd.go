// Package etcd is the Mutex of etcd's own go.etcd.io/etcd/client/v3/concurrency as a subject of the benchmark.
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
// goroutine, because two goroutines of one session would both hold the lock.
func New() bench.Subject { return subject{} }

type subject struct{}

func (subject) Name() string { return "etcd" }

func (subject) Join(_ context.Context, p bench.Place) (bench.Contender, error) {
	client, err := clientv3.New(p.Etcd)
	if err != nil {
		return nil, err
	}
	return &contender{place: p, client: client}, nil
}

type contender struct {
	place  bench.Place
	client *clientv3.Client

	mu       sync.Mutex
	sessions []*concurrency.Session
}

func (c *contender) Locker(ctx context.Context, name string) (bench.Locker, error) {
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
	defer c.mu.Unlock()
	c.sessions = append(c.sessions, s)
	return &locker{concurrency.NewMutex(s, c.place.Prefix+name)}, nil
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

// locker adds the token to Mutex's own Lock and Unlock.
type locker struct{ *concurrency.Mutex }

// Token is the create revision of the holder's key, as IsOwner compares it. The revision in Header is a later one for
// those who had to wait.
func (l *locker) Token() fence.Token {
	owner := l.IsOwner()
	return fence.Token(owner.GetCompare().GetCreateRevision())
}
