// Package elect is the workload of an election, in which each turn is a term.
package elect

import (
	"context"
	"flag"

	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/subject/etcd"
	"github.com/fenceline/fenceline/bench/subject/fenceline"
	"github.com/fenceline/fenceline/bench/subject/local"
	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/session"
)

// Load is one election, for which everybody stands all the time.
type Load struct{ bench.Mutex }

// About names the election.
func (Load) About() bench.About {
	return bench.About{Workload: "elect", Unit: "term", Names: []string{"leader"}}
}

var subjects = bench.Subjects{
	"etcd": func() bench.Subject {
		return etcd.With("etcd", func(s *concurrency.Session, names []string) bench.Locker {
			return theirs{concurrency.NewElection(s, names[0])}
		})
	},
	"fenceline": func() bench.Subject {
		return fenceline.With("fenceline", func(s *session.Session, names []string) bench.Locker {
			return &ours{election: election.New(s, names[0])}
		})
	},
	"local": local.New,
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

// Workload measures a few candidates.
func Workload() bench.Workload {
	return bench.Workload{
		Name:  "elect",
		Short: "Measure for how long nobody leads an election",
		Long: `Measure elections: a turn is a term, from the return of Campaign to Resign, and hand-over is for how long nobody leads. It is
checked that nobody else leads meanwhile. --kills adds what happens when a leader's process is killed, and --etcd-kills when
etcd's own leader is, too.`,
		Subjects:   subjects,
		Versus:     []string{"fenceline", "etcd"},
		Contenders: []int{3, 8},
		Exclusive:  Load{},
		Flags: func(*flag.FlagSet) func([]bench.Cell) []bench.Cell {
			return func(grid []bench.Cell) []bench.Cell { return bench.Each(grid, Load{}) }
		},
	}
}
