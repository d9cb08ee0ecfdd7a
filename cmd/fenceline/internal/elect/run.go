package elect

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/child"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/underhold"
	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/session"
)

// electRun is one candidate, and a command for each of its terms.
type electRun struct {
	*electFlags
	*underhold.Holder
	election *election.Election
}

func runElected(ctx context.Context, g *app.Globals, f *electFlags, stderr io.Writer) error {
	h, stop, err := underhold.NewHolder(g, &f.Flags, f.what(), stderr)
	if err != nil {
		return app.StartFailed(err)
	}
	defer stop()
	r := &electRun{electFlags: f, Holder: h}
	err = r.Interrupts.During(ctx, func(ctx context.Context) error { return r.Open(ctx, r.trace()) })
	if interrupted := r.Interrupts.Exit(); interrupted != nil {
		err = interrupted
	}
	if err == nil {
		r.election = election.New(r.Session, r.name, r.options()...)
		for again := true; again; {
			again, err = r.term(ctx)
		}
	}
	return r.Interrupts.During(ctx, func(ctx context.Context) error {
		ctx, cancel := r.Bounded(ctx)
		defer cancel()
		r.Close(ctx)
		return err
	})
}

func (r *electRun) trace() *session.Trace {
	return &session.Trace{Queued: func(_, _ string, ahead int) {
		if r.Verbose && ahead > 0 {
			go r.Say("waiting, %d ahead", ahead)
		}
	}}
}

// term campaigns, and runs the command while it leads. It returns whether to stand again, and else how the process ends.
func (r *electRun) term(ctx context.Context) (again bool, exit error) {
	var t *election.Term
	began := time.Now()
	spoke := false
	err := r.Interrupts.During(ctx, func(ctx context.Context) (err error) {
		spoke, err = r.Patiently(ctx, r.look, func(ctx context.Context) (err error) {
			t, err = r.election.Campaign(ctx, r.value)
			return err
		})
		return err
	})
	if interrupted := r.Interrupts.Exit(); interrupted != nil {
		if t != nil {
			r.resign(ctx, t)
		}
		return false, interrupted
	}
	if err != nil {
		return false, app.UnavailableErrorf("%w", app.About(r.what(), err))
	}
	r.Acquired("elected", spoke, began)
	result, err := r.Run(t, os.Stdin, r.Environment(r.variables(t)...), r.Interrupts.Signals)
	exit = r.Ended(result, err)
	lost := result.Lost != nil && r.HeedsLoss()
	if r.resign(ctx, t) {
		lost, exit = true, &app.ExitError{Code: app.ExitLost}
	}
	again = lost && err == nil && !r.once && result.Asked == 0 && r.Interrupts.Exit() == nil
	return again, exit
}

// look says who leads.
func (r *electRun) look(ctx context.Context) string {
	f := &app.Named{Namespace: r.Namespace, Prefix: r.prefix}
	if r.prefix == "" {
		f.Kind, f.Name = app.ElectionKind, r.name
	}
	l, err := underhold.FrontOf(ctx, r.Client, f)
	if err != nil {
		return ""
	}
	return underhold.WaitingFor(l, r.Session.Lease(), "")
}

// resign ends the term, and returns true if that was lost unnoticed.
func (r *electRun) resign(ctx context.Context, t *election.Term) (lost bool) {
	r.Interrupts.During(ctx, func(ctx context.Context) error {
		ctx, cancel := r.Bounded(ctx)
		defer cancel()
		lost = r.GiveBack(ctx, t.Resign)
		return nil
	})
	return lost
}

// variables say what the command's term is.
func (r *electRun) variables(t *election.Term) []string {
	return append(underhold.EntryVariables(t.Key(), t.Token()),
		"FENCELINE_TOKEN="+t.Token().String(),
		"FENCELINE_LEASE="+keyspace.Lease(t.Lease()),
		"FENCELINE_ELECTION_NAME="+r.name,
		"FENCELINE_VALUE="+r.value,
	)
}

var _ child.Hold = (*election.Term)(nil)
