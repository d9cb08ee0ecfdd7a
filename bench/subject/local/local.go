// Package local is a sync.Mutex as a subject of the benchmark: no etcd, no network. What the benchmark shows for it
// is what the benchmark itself costs. It is also the shortest example of a subject.
package local

import (
	"context"
	"sync"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/fence"
)

// New returns a subject whose contenders all live in this process.
func New() bench.Subject { return &subject{mutexes: map[string]*mutex{}} }

type subject struct {
	mu      sync.Mutex
	mutexes map[string]*mutex // by prefix and name
}

func (s *subject) Name() string { return "local" }

func (s *subject) Join(_ context.Context, p bench.Place) (bench.Contender, error) {
	return contender{s, p.Prefix}, nil
}

type contender struct {
	subject *subject
	prefix  string
}

func (c contender) Locker(_ context.Context, name string) (bench.Locker, error) {
	c.subject.mu.Lock()
	defer c.subject.mu.Unlock()
	m, ok := c.subject.mutexes[c.prefix+name]
	if !ok {
		m = new(mutex)
		c.subject.mutexes[c.prefix+name] = m
	}
	return m, nil
}

func (c contender) Close(context.Context) error { return nil }

type mutex struct {
	sync.Mutex
	token fence.Token // of the present hold; guarded by the mutex itself
}

func (m *mutex) Lock(context.Context) error {
	m.Mutex.Lock()
	m.token++
	return nil
}

func (m *mutex) Unlock(context.Context) error {
	m.Mutex.Unlock()
	return nil
}

func (m *mutex) Token() fence.Token { return m.token }
