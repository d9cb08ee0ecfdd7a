package barrier

import (
	"context"
	"fmt"
	"path"

	"go.etcd.io/etcd/client/v3/concurrency"
	recipe "go.etcd.io/etcd/client/v3/experimental/recipes"

	"github.com/fenceline/fenceline/barrier"
	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/subject/etcd"
	"github.com/fenceline/fenceline/bench/subject/fenceline"
	"github.com/fenceline/fenceline/session"
)

var subjects = bench.Subjects{
	"fenceline": func() bench.Subject {
		return fenceline.With("fenceline", func(s *session.Session, names []string) bench.Locker {
			return &ours{barrier: barrier.New(s, names[0], parties(names[0]))}
		})
	},
	"etcd": func() bench.Subject {
		return etcd.With("etcd", func(s *concurrency.Session, names []string) bench.Locker {
			return theirs{recipe.NewDoubleBarrier(s, names[0], parties(path.Base(names[0])))}
		})
	},
}

// parties is what the load has put into its name.
func parties(name string) (n int) {
	if _, err := fmt.Sscanf(name, nameFormat, &n); err != nil {
		panic("bench: a barrier of no load: " + name)
	}
	return n
}

// ours passes a barrier.Barrier.
type ours struct {
	barrier *barrier.Barrier
	pass    *barrier.Pass
}

func (l *ours) Lock(ctx context.Context, _ *bench.Turn) (err error) {
	l.pass, err = l.barrier.Enter(ctx)
	return err
}

func (l *ours) Unlock(ctx context.Context) error { return l.pass.Leave(ctx) }

// theirs is etcd's recipe, which takes no context: only the end of its connection ends a wait.
type theirs struct{ barrier *recipe.DoubleBarrier }

func (l theirs) Lock(ctx context.Context, _ *bench.Turn) error {
	if err := l.barrier.Enter(); err != nil {
		return err
	}
	return ctx.Err() // after that others have gone, and it would wait for them: what it has ends with its lease
}

func (l theirs) Unlock(context.Context) error { return l.barrier.Leave() }
