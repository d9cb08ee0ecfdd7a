// Package fenceline is lock.Mutex as a subject of the benchmark.
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
// of its goroutines.
func New() bench.Subject { return Variant("fenceline") }

// Variant is New under another name and with options.
func Variant(name string, opts ...lock.Option) bench.Subject { return subject{name, opts} }

type subject struct {
	name string
	opts []lock.Option
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
	return &contender{session: open, opts: s.opts}, nil
}

type contender struct {
	session *session.Session
	opts    []lock.Option
}

func (c *contender) Locker(_ context.Context, name string) (bench.Locker, error) {
	return &locker{mutex: lock.New(c.session, name, c.opts...)}, nil
}

func (c *contender) Close(ctx context.Context) error {
	return errors.Join(c.session.Close(ctx), c.session.Client().Close())
}

type locker struct {
	mutex *lock.Mutex
	held  *lock.Lock
}

func (l *locker) Lock(ctx context.Context) (err error) {
	l.held, err = l.mutex.Acquire(ctx)
	return err
}

func (l *locker) Unlock(ctx context.Context) error { return l.held.Release(ctx) }

// Token is asked for in fenced cells only: looking at it keeps the entry from being passed on within the process.
func (l *locker) Token() fence.Token { return l.held.Token() }
