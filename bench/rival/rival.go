// Package rival is what locks on something else than etcd have in common, so that they can stand beside those on etcd in
// one run: a server, at an address or started for the run, and a lock on it. Each rival is a package of its own, which shows
// what one has to provide: a Lock, a contender that makes them on a connection of its own, and how to start the server.
package rival

import (
	"context"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/fence"
)

// Lock is a lock of one name, held by one at a time.
type Lock interface {
	Lock(ctx context.Context) error
	Unlock(ctx context.Context) error
}

// Contender is one connection, or as many as its locks need.
type Contender interface {
	// Lock is the lock of a name, for one goroutine.
	Lock(ctx context.Context, name string) (Lock, error)
	// Close gives back what is held, and ends calls that still wait.
	Close(ctx context.Context) error
}

// Subject makes a subject of the benchmark: one word for the report, which names the server's durability, and how a
// contender connects.
func Subject(name string, join func(ctx context.Context, p bench.Place) (Contender, error)) bench.Subject {
	return subject{name, join}
}

type subject struct {
	name string
	join func(context.Context, bench.Place) (Contender, error)
}

func (s subject) Name() string { return s.name }

func (s subject) Join(ctx context.Context, p bench.Place) (bench.Contender, error) {
	c, err := s.join(ctx, p)
	if err != nil {
		return nil, err
	}
	return contender{c, p.Prefix}, nil
}

type contender struct {
	Contender
	prefix string
}

// Locker takes several names one by one, in ascending order.
func (c contender) Locker(ctx context.Context, names []string) (bench.Locker, error) {
	locks := make([]bench.Mutual, len(names))
	for i, name := range names {
		l, err := c.Lock(ctx, c.prefix+name)
		if err != nil {
			return nil, err
		}
		locks[i] = tokenless{l}
	}
	return plain{bench.InOrder(locks)}, nil
}

// tokenless has none: nobody asks, since plain hides that InOrder would answer.
type tokenless struct{ of Lock }

func (l tokenless) Lock(ctx context.Context) error   { return l.of.Lock(ctx) }
func (l tokenless) Unlock(ctx context.Context) error { return l.of.Unlock(ctx) }
func (tokenless) Token() fence.Token                 { return 0 }

type plain struct{ bench.Locker }
