package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fenceline/fenceline/bench/cost"
	"golang.org/x/sync/errgroup"
)

const (
	joinTimeout  = 30 * time.Second
	joinGrace    = 2 * time.Second // for a join that is under way when the run is interrupted
	joinsAtOnce  = 16
	drainTimeout = 5 * time.Second
	leaveTimeout = 10 * time.Second
	tick         = 200 * time.Millisecond
	readings     = 10 // of counters, at most, for one in which no turn ended
)

// phase of a trial, which all its workers look at once per acquisition.
const (
	warming int32 = iota
	measuring
	done
)

// trial is one subject in one round of one cell: what its workers share.
type trial struct {
	cell  Cell
	place Place
	meter cost.Meter
	began time.Time // of its clock

	measured atomic.Int64 // when the measurement began
	phase    atomic.Int32 // read by everyone all the time, so not in one cache line with what holders write
	_        [64]byte

	referee    Referee
	comer      Comer   // the same, if it is one
	checker    Checker // the same
	about      About
	abort      context.CancelCauseFunc // ends it without a result
	succession *succession
	rounds     *rounds // nil unless turns begin together
	scraper    *scraper
	seed       uint64
	contenders []Contender
	workers    []*worker // of the first contender first
}

// check says why no turn can be t.
func (t *trial) check(turn *Turn) error {
	err := turn.check(&t.about)
	if err == nil && t.checker != nil {
		err = t.checker.Check(turn)
	}
	return err
}

// now is nanoseconds since the trial began, by the monotonic clock alone: half the price of time.Now.
func (t *trial) now() int64 { return int64(time.Since(t.began)) }

func newTrial(cell Cell, seed uint64) *trial {
	t := &trial{
		cell:       cell,
		began:      time.Now().Add(-1),
		referee:    cell.load().Referee(cell),
		about:      cell.About(),
		succession: newSuccession(cell.Contenders),
		seed:       seed,
		contenders: make([]Contender, cell.Contenders),
	}
	t.comer, _ = t.referee.(Comer)
	t.checker, _ = t.referee.(Checker)
	if cell.About().Together {
		t.rounds = newRounds(cell.Contenders * cell.Goroutines)
	}
	return t
}

// join connects all contenders. After an error what has joined is still to be closed.
func (t *trial) join(ctx context.Context, s Subject, place Place) error {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	t.place = place
	t.workers = make([]*worker, t.cell.Contenders*t.cell.Goroutines)
	names := t.cell.About().Names
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(joinsAtOnce)
	// One who is cut short cannot say in time that he leaves again: he joins, and is closed with the others.
	joining, abandon := outliving(ctx, joinGrace)
	defer abandon()
	for i := range t.contenders {
		group.Go(func() error {
			if ctx.Err() != nil { // nobody waits for the rest of them
				return context.Cause(ctx)
			}
			c, err := s.Join(joining, place)
			if err != nil {
				return fmt.Errorf("bench: %s cannot join: %w", s.Name(), err)
			}
			t.contenders[i] = c
			for g := range t.cell.Goroutines {
				locker, err := c.Locker(joining, names)
				if err != nil {
					return fmt.Errorf("bench: %s cannot join: %w", s.Name(), err)
				}
				if _, ok := locker.(Fenced); t.cell.Fenced && !ok {
					return fmt.Errorf("bench: %s cannot join: it has no fencing tokens", s.Name())
				}
				n := i*t.cell.Goroutines + g
				t.workers[n] = newWorker(t, locker, n)
			}
			return nil
		})
	}
	return group.Wait()
}

// outliving is ctx, but ends so much later.
func outliving(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	later, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(by, func() { cancel(context.Cause(ctx)) })
	})
	return later, func() { stop(); cancel(nil) }
}

// run lets the workers contend. When ctx ends before anything was measured, nothing has elapsed. An error says that the
// workload has drawn what cannot be.
func (t *trial) run(ctx context.Context, warmUp, duration time.Duration, report func(rate float64)) (*Measures, error) {
	outer := ctx
	ctx, t.abort = context.WithCancelCause(ctx)
	defer t.abort(nil)
	acquiring, stop := context.WithCancel(ctx)
	defer stop()
	releasing, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()

	var workers sync.WaitGroup
	for _, w := range t.workers {
		workers.Go(func() { w.run(acquiring, releasing) })
	}
	left := make(chan struct{})
	go func() { workers.Wait(); close(left) }()

	var result *Measures
	if t.watch(ctx, warmUp, report) {
		result = t.measure(ctx, duration, report)
	}
	t.phase.Store(done)

	// Each way to leave is tried for a while: in turn, by ending the wait, by taking the connection away.
	wait(left, ctx.Done(), drainTimeout)
	stop()
	wait(left, nil, drainTimeout)
	abandon()
	err := t.close(ctx)
	<-left
	if outer.Err() == nil && ctx.Err() != nil {
		return nil, errors.Join(context.Cause(ctx), err)
	}
	return result.with(t, err), nil
}

// measure opens the window in which acquisitions count.
func (t *trial) measure(ctx context.Context, duration time.Duration, report func(rate float64)) *Measures {
	var serverBefore []*scrape
	if t.scraper != nil {
		serverBefore = t.scraper.look(ctx)
	}
	before, start := t.read(), t.now()
	t.measured.Store(start)
	t.phase.Store(measuring)
	t.watch(ctx, duration, report)
	t.phase.Store(done)
	elapsed, after := t.now()-start, t.read()
	m := &Measures{
		Elapsed: time.Duration(elapsed),
		Cost:    after.cost.Sub(before.cost),
		Client:  after.client.since(before.client),
		Counted: after.holds - before.holds,
	}
	if t.scraper != nil {
		m.Server = served(serverBefore, t.scraper.look(ctx))
	}
	return m
}

// reading is what was counted until one moment.
type reading struct {
	holds  int64
	cost   cost.Count
	client Usage
}

// read tries again while turns end meanwhile. Else a processor that is busy elsewhere, between one counter and the next,
// would let turns cost more than they do. When turns end faster than counters are read, one more or less is nothing.
func (t *trial) read() (r reading) {
	for range readings {
		r = reading{t.holds(), t.meter.Count(), usage()}
		if t.holds() == r.holds {
			break
		}
	}
	return r
}

// watch waits for d and reports the rate meanwhile. It is false if ctx ended first.
func (t *trial) watch(ctx context.Context, d time.Duration, report func(rate float64)) bool {
	end := time.NewTimer(d)
	defer end.Stop()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	count, at := t.holds(), t.now()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-end.C:
			return true
		case <-ticker.C:
			c, n := t.holds(), t.now()
			report(float64(c-count) / time.Duration(n-at).Seconds())
			count, at = c, n
		}
	}
}

// holds is how often the lock was taken until now, counted or not.
func (t *trial) holds() (n int64) {
	for _, w := range t.workers {
		n += w.holds.Load()
	}
	return n
}

// close closes all contenders that joined, once.
func (t *trial) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	group := new(errgroup.Group)
	group.SetLimit(joinsAtOnce)
	for i, c := range t.contenders {
		t.contenders[i] = nil
		if c != nil {
			group.Go(func() error { return c.Close(ctx) })
		}
	}
	return group.Wait()
}

// wait ends when left does, when early does, or after d.
func wait(left, early <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-left:
	case <-early:
	case <-timer.C:
	}
}
