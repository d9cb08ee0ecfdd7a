package cli

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/child"
	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/session"
)

// electRun is one candidate, and a command for each of its terms.
type electRun struct {
	*electFlags
	*holder
	election *election.Election
}

func runElected(ctx context.Context, g *globals, f *electFlags, stderr io.Writer) error {
	h, stop, err := newHolder(g, &f.holdFlags, f.what(), stderr)
	if err != nil {
		return startFailed(err)
	}
	defer stop()
	r := &electRun{electFlags: f, holder: h}
	err = r.interrupts.during(ctx, func(ctx context.Context) error { return r.open(ctx, r.trace()) })
	if interrupted := r.interrupts.exit(); interrupted != nil {
		err = interrupted
	}
	if err == nil {
		r.election = election.New(r.session, r.name, r.options()...)
		for again := true; again; {
			again, err = r.term(ctx)
		}
	}
	return r.interrupts.during(ctx, func(ctx context.Context) error {
		ctx, cancel := r.bounded(ctx)
		defer cancel()
		r.close(ctx)
		return err
	})
}

func (r *electRun) trace() *session.Trace {
	return &session.Trace{Queued: func(_, _ string, ahead int) {
		if r.verbose && ahead > 0 {
			go r.say("waiting, %d ahead", ahead)
		}
	}}
}

// term campaigns, and runs the command while it leads. It returns whether to stand again, and else how the process ends.
func (r *electRun) term(ctx context.Context) (again bool, exit error) {
	var t *election.Term
	began := time.Now()
	spoke := false
	err := r.interrupts.during(ctx, func(ctx context.Context) (err error) {
		spoke, err = r.patiently(ctx, r.look, func(ctx context.Context) (err error) {
			t, err = r.election.Campaign(ctx, r.value)
			return err
		})
		return err
	})
	if interrupted := r.interrupts.exit(); interrupted != nil {
		if t != nil {
			r.resign(ctx, t)
		}
		return false, interrupted
	}
	if err != nil {
		return false, unavailableErrorf("%w", about(r.what(), err))
	}
	r.acquired("elected", spoke, began)
	result, err := r.run(t, os.Stdin, r.environment(r.variables(t)...), r.interrupts.signals)
	exit = r.ended(result, err)
	lost := result.Lost != nil && r.heedsLoss()
	if r.resign(ctx, t) {
		lost, exit = true, &ExitError{Code: exitLost}
	}
	again = lost && err == nil && !r.once && result.Asked == 0 && r.interrupts.exit() == nil
	return again, exit
}

// look says who leads.
func (r *electRun) look(ctx context.Context) string {
	f := &named{namespace: r.namespace, prefix: r.prefix}
	if r.prefix == "" {
		f.kind, f.name = electionKind, r.name
	}
	l, err := frontOf(ctx, r.client, f)
	if err != nil {
		return ""
	}
	return waitingFor(l, r.session.Lease(), "")
}

// resign ends the term, and returns true if that was lost unnoticed.
func (r *electRun) resign(ctx context.Context, t *election.Term) (lost bool) {
	r.interrupts.during(ctx, func(ctx context.Context) error {
		ctx, cancel := r.bounded(ctx)
		defer cancel()
		lost = r.giveBack(ctx, t.Resign)
		return nil
	})
	return lost
}

// variables say what the command's term is.
func (r *electRun) variables(t *election.Term) []string {
	return append(entryVariables(t.Key(), t.Token()),
		"FENCELINE_TOKEN="+t.Token().String(),
		"FENCELINE_LEASE="+keyspace.Lease(t.Lease()),
		"FENCELINE_ELECTION_NAME="+r.name,
		"FENCELINE_VALUE="+r.value,
	)
}

var _ child.Hold = (*election.Term)(nil)
