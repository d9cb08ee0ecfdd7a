package elect

import (
	"context"
	"strings"

	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/subject/etcd"
	"github.com/fenceline/fenceline/bench/subject/fenceline"
	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/session"
)

// name is the election's. Its candidates are the keys below line, in the place that fenceline has for them.
const (
	name = "leader"
	line = "election/" + name
)

// Subjects are elections: Lock campaigns and Unlock resigns.
var Subjects = bench.Subjects{
	"etcd": func() bench.Subject {
		return etcd.With("etcd", func(s *concurrency.Session, names []string) bench.Locker {
			return theirs{concurrency.NewElection(s, strings.TrimSuffix(names[0], name)+line)}
		})
	},
	"fenceline": func() bench.Subject {
		return fenceline.With("fenceline", func(s *session.Session, names []string) bench.Locker {
			return &ours{election: election.New(s, names[0])}
		})
	},
}

// value is what a candidate says. Nobody reads it.
const value = "bench"

type theirs struct{ election *concurrency.Election }

func (e theirs) Lock(ctx context.Context, _ *bench.Turn) error {
	return e.election.Campaign(ctx, value)
}
func (e theirs) Unlock(ctx context.Context) error { return e.election.Resign(ctx) }

type ours struct {
	election *election.Election
	term     *election.Term
}

func (e *ours) Lock(ctx context.Context, _ *bench.Turn) (err error) {
	e.term, err = e.election.Campaign(ctx, value)
	return err
}

func (e *ours) Unlock(ctx context.Context) error { return e.term.Resign(ctx) }
