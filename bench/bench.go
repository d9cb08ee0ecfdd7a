package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Run measures every cell of cfg and returns what it got, with an error if that is not everything:
//
//   - ErrInvalid: nothing was started;
//   - a *SafetyError: a subject failed, its trial is the last one in the result;
//   - ctx's cause: the result holds what was measured until then, and says Interrupted;
//   - ErrUnreachable: nothing was started;
//   - ErrInvalid, with a result: a workload has drawn a turn that cannot be;
//   - anything else: a subject could not join, or took no lock at all in some cell. In the latter case everything else was
//     measured.
//
// It leaves no key and no lease in etcd, whichever way it ends, unless etcd itself was gone by then: then leases
// end by themselves after Config.TTL, and the keys with them. So do, after a probe that kills processes was interrupted, the
// leases of the dead.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	result := &Result{Schema: Schema, Started: time.Now(), Environment: environment(), Settings: cfg.settings()}
	cluster, err := openCluster(ctx, cfg.Etcd, &result.Environment)
	if err != nil && errors.Is(ctx.Err(), context.Canceled) { // a deadline says that etcd did not answer
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	r := &run{Config: cfg, cluster: cluster, result: result, began: time.Now()}
	if err = r.cells(ctx); err == nil {
		err = r.probes(ctx)
	}
	result.Interrupted = ctx.Err() != nil
	result.Finished = time.Now()
	return result, errors.Join(err, r.nothing, cluster.close(ctx))
}

func (c *Config) settings() Settings {
	s := Settings{Rounds: c.Rounds, Duration: c.Duration, WarmUp: c.WarmUp, TTL: c.TTL, Seed: c.Seed, Conditions: c.Conditions}
	for _, subject := range c.Subjects {
		s.Subjects = append(s.Subjects, subject.Name())
	}
	return s
}

// run is a Config on its way to a Result.
type run struct {
	Config
	cluster *cluster
	result  *Result
	began   time.Time
	trials  int   // finished
	nothing error // cells in which a subject took nothing
}

func (r *run) cells(ctx context.Context) error {
	for _, cell := range r.Cells {
		rounds := make([][]Measures, len(r.Subjects))
		err := r.rounds(ctx, cell, rounds)
		c := r.collect(cell, rounds)
		if len(c.Subjects) > 0 {
			r.result.Cells = append(r.result.Cells, c)
			if r.Progress.Cell != nil {
				r.Progress.Cell(c)
			}
		}
		if err != nil {
			return err
		}
		r.nothing = errors.Join(r.nothing, c.nothing())
	}
	return nil
}

// rounds runs all trials of one cell: the subjects forth in one round, back in the next.
func (r *run) rounds(ctx context.Context, cell Cell, rounds [][]Measures) error {
	for round := range r.Rounds {
		for i := range r.Subjects {
			if round%2 == 1 {
				i = len(r.Subjects) - 1 - i
			}
			m, err := r.trial(ctx, cell, r.Subjects[i], round)
			if m != nil {
				rounds[i] = append(rounds[i], *m)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// trial returns measures, if any, along with the error that ends the run.
func (r *run) trial(ctx context.Context, cell Cell, s Subject, round int) (*Measures, error) {
	t := newTrial(cell, r.Seed+uint64(round))
	t.scraper = r.cluster.scraper
	if err := t.join(ctx, s, r.cluster.place(r.trials, r.TTL, &t.meter)); err != nil {
		return nil, r.because(ctx, errors.Join(err, t.close(ctx)))
	}
	m, err := t.run(ctx, r.WarmUp, r.Duration, func(rate float64) {
		if r.Progress.Tick != nil {
			r.Progress.Tick(Tick{Cell: cell, Subject: s.Name(), Round: round + 1, Left: r.left(), Rate: rate})
		}
	})
	r.trials++
	switch {
	case err != nil:
		return nil, err
	case m.Safety != Safety{}:
		return m, &SafetyError{Subject: s.Name(), Cell: cell, Safety: m.Safety}
	case m.Elapsed == 0:
		return nil, context.Cause(ctx)
	case ctx.Err() != nil:
		return m, context.Cause(ctx)
	}
	return m, nil
}

// nothing says which subjects took no lock in c, in none of the rounds. The others are measured all the same.
func (c *CellResult) nothing() (err error) {
	for _, s := range c.Subjects {
		if s.Acquisitions > 0 {
			continue
		}
		why := "no error was met: it may take longer than was measured"
		if s.FirstError != "" {
			why = "first error: " + s.FirstError
		}
		err = errors.Join(err, fmt.Errorf("bench: %s took no lock in cell %v within %v; %s", s.Subject, c.Cell, s.Elapsed.Round(time.Millisecond), why))
	}
	return err
}

// because prefers the reason why ctx ended to what that broke.
func (r *run) because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// left is the time to the end, if trials go on to take as long as those before.
func (r *run) left() time.Duration {
	total := r.Estimate()
	spent := time.Since(r.began)
	if r.trials > 0 {
		all := len(r.Cells) * len(r.Subjects) * r.Rounds
		total = max(total, spent*time.Duration(all)/time.Duration(r.trials+1)+r.estimateProbes())
	}
	return max(0, total-spent)
}

// collect leaves out subjects of which nothing was measured.
func (r *run) collect(cell Cell, rounds [][]Measures) CellResult {
	c := CellResult{Cell: cell, Workload: cell.About().Workload, Setting: cell.load()}
	for i, s := range r.Subjects {
		if len(rounds[i]) > 0 {
			c.Subjects = append(c.Subjects, subjectResult(s.Name(), rounds[i]))
		}
	}
	if len(c.Subjects) == len(r.Subjects) {
		c.compare()
	}
	return c
}
