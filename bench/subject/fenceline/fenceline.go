// Package fenceline is lock.Mutex as a subject of the benchmark, and what other subjects on fenceline's sessions have
// in common with it.
package fenceline

import (
	"context"
	"errors"
	"fmt"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// New returns lock.Mutex as it is without options: one client and one session for each contender, whatever the number
// of its goroutines. Turns of several names take them one by one, in ascending order.
func New() bench.Subject { return Variant("fenceline") }

// Variant is New under another name and with options.
func Variant(name string, opts ...lock.Option) bench.Subject {
	return With(name, func(s *session.Session, names []string) bench.Locker {
		mutexes := make([]bench.Mutual, len(names))
		for i, name := range names {
			mutexes[i] = &mutex{mutex: lock.New(s, name, opts...)}
		}
		return bench.InOrder(mutexes)
	})
}

// With returns a subject whose lockers live on a session of their contender.
func With(name string, locker func(s *session.Session, names []string) bench.Locker) bench.Subject {
	return subject{name, locker}
}

type subject struct {
	name   string
	locker func(*session.Session, []string) bench.Locker
}

func (s subject) Name() string { return s.name }

func (s subject) Join(ctx context.Context, p bench.Place) (bench.Contender, error) {
	client, err := clientv3.New(p.Etcd)
	if err != nil {
		return nil, err
	}
	open, err := session.Open(ctx, client, session.WithTTL(p.TTL), session.WithNamespace(p.Prefix))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open a session: %w", err), client.Close())
	}
	return &contender{session: open, locker: s.locker}, nil
}

type contender struct {
	session *session.Session
	locker  func(*session.Session, []string) bench.Locker
}

func (c *contender) Locker(_ context.Context, names []string) (bench.Locker, error) {
	return c.locker(c.session, names), nil
}

// Lease is the session's.
func (c *contender) Lease() clientv3.LeaseID { return c.session.Lease() }

func (c *contender) Close(ctx context.Context) error {
	return errors.Join(c.session.Close(ctx), c.session.Client().Close())
}

type mutex struct {
	mutex *lock.Mutex
	held  *lock.Lock
}

func (m *mutex) Lock(ctx context.Context) (err error) {
	m.held, err = m.mutex.Acquire(ctx)
	return err
}

func (m *mutex) Unlock(ctx context.Context) error { return m.held.Release(ctx) }

// Token is asked for in fenced cells only.
func (m *mutex) Token() fence.Token { return m.held.Token() }
