// Package local is a sync.Mutex as a subject of the benchmark: no etcd, no network. What the benchmark shows for it
// is what the benchmark itself costs. It is also the shortest example of a subject.
package local

import (
	"context"
	"sync"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/fence"
)

// New returns a subject whose contenders all live in this process. Turns of several names take them one by one, in
// ascending order.
func New() bench.Subject { return With(InOrder) }

// InOrder makes lockers of one sync.Mutex for each name.
func InOrder(names []string) (locker func() bench.Locker) {
	mutexes := make([]bench.Mutual, len(names))
	for i := range mutexes {
		mutexes[i] = new(mutex)
	}
	return func() bench.Locker { return bench.InOrder(mutexes) }
}

// With returns a subject that calls share once in each trial, for what the lockers of that trial have in common.
func With(share func(names []string) (locker func() bench.Locker)) bench.Subject {
	return &subject{share: share, lockers: map[string]func() bench.Locker{}}
}

type subject struct {
	share   func([]string) func() bench.Locker
	mu      sync.Mutex
	lockers map[string]func() bench.Locker // by prefix: each trial has its own
}

// Name is how all subjects are called that exclude within one process only.
const Name = "local"

func (s *subject) Name() string { return Name }

func (s *subject) Join(_ context.Context, p bench.Place) (bench.Contender, error) {
	return contender{s, p.Prefix}, nil
}

type contender struct {
	subject *subject
	prefix  string
}

func (c contender) Locker(_ context.Context, names []string) (bench.Locker, error) {
	s := c.subject
	s.mu.Lock()
	defer s.mu.Unlock()
	locker, ok := s.lockers[c.prefix]
	if !ok {
		locker = s.share(names)
		s.lockers[c.prefix] = locker
	}
	return locker(), nil
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
