package bench

import (
	"cmp"
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// retryAfter keeps a subject that fails at once from burning the processor.
const retryAfter = 10 * time.Millisecond

// worker is one goroutine that takes turns again and again, and keeps its own books: no worker writes into another's.
type worker struct {
	trial  *trial
	locker Locker
	draw   *rand.Rand
	next   Turn

	holds      atomic.Int64 // all, counted or not
	modes      []book       // by mode; one when there are none
	handOver   *latencies
	followed   followed
	schedule   schedule
	lag        *latencies // of the schedule
	history    history
	contender  int
	failed     bool // the last turn was not taken
	failures   int64
	firstError error
}

// book is what a worker writes down of turns of one mode.
type book struct {
	counted int64
	acquire *latencies
	longest int64
}

// newWorker makes the n-th worker of t: its turns are the n-th sequence of the seed.
func newWorker(t *trial, l Locker, n int) *worker {
	w := &worker{
		trial:    t,
		locker:   l,
		draw:     rand.New(rand.NewPCG(t.seed, uint64(n))),
		modes:    make([]book, max(1, len(t.cell.About().Modes))),
		handOver: newLatencies(),
		followed: newFollowed(),
		lag:      newLatencies(),
		schedule: newSchedule(t.cell, t.seed, n),
		history:  history{most: historyHolds / (t.cell.Contenders * t.cell.Goroutines)},

		contender: n / t.cell.Goroutines,
	}
	for i := range w.modes {
		w.modes[i].acquire = newLatencies()
	}
	return w
}

// run contends until the trial is done. acquiring ends its waits, releasing its calls of Unlock.
func (w *worker) run(acquiring, releasing context.Context) {
	// A context of its own, as each request in a server has: derived contexts of all workers would otherwise meet
	// on the mutex of a parent, and that is not what is to be measured.
	acquiring, cancel := context.WithCancel(acquiring)
	defer cancel()
	for w.turn(acquiring, releasing) {
	}
}

// turn takes what the referee says, once. It is false when it is time to leave.
func (w *worker) turn(acquiring, releasing context.Context) bool {
	t := w.trial
	if !t.begin(acquiring, w.failed) {
		return false
	}
	due, ok := w.schedule.wait(acquiring, t)
	if !ok {
		return false
	}
	if !w.failed {
		t.referee.Next(w.draw, &w.next)
		if err := t.check(&w.next); err != nil {
			t.abort(err)
			return false
		}
	}
	w.failed = false
	start := t.now()
	if t.comer != nil {
		t.comer.Come(&w.next, start)
	}
	if due == 0 {
		due = start
	}
	if err := w.locker.Lock(acquiring, &w.next); err != nil {
		if acquiring.Err() != nil {
			b := &w.modes[w.next.Mode]
			b.longest = max(b.longest, t.now()-due) // it ended without an acquisition, but it was a wait
			return false
		}
		w.fail(err)
		w.failed = true
		sleep(acquiring, retryAfter)
		return true
	}
	inside := t.now()
	freed, over := w.hold(acquiring, inside)
	if err := w.locker.Unlock(releasing); err != nil {
		w.fail(err)
	}
	w.record(due, start, inside, freed, over)
	return true
}

// hold is the critical section. It returns when the one in the way had let go, and when it was over.
func (w *worker) hold(ctx context.Context, inside int64) (freed, over int64) {
	t := w.trial
	freed = t.referee.Enter(&w.next, w.locker)
	if t.phase.Load() == measuring {
		w.followed.add(t.succession.take(w.contender))
	}
	if t.cell.Hold > 0 && t.phase.Load() != done {
		sleep(ctx, t.cell.Hold)
	}
	over = inside // a few nanoseconds ago is as good
	if t.cell.Hold > 0 || t.cell.Fenced {
		over = t.now()
	}
	t.referee.Leave(&w.next, over)
	w.holds.Store(w.holds.Load() + 1)
	return freed, over
}

// record comes after Unlock, where it delays nobody else. A wait begins when the turn was due: else one that is late
// since the last one took long would be forgotten.
func (w *worker) record(due, start, inside, freed, over int64) {
	wait, b := inside-due, &w.modes[w.next.Mode]
	switch w.trial.phase.Load() {
	case measuring:
		b.counted++
		began := w.trial.measured.Load()
		w.history.add(Hold{w.contender, w.next.Mode, time.Duration(inside - began), time.Duration(over - began)})
		b.acquire.record(wait)
		if w.schedule.rate > 0 {
			w.lag.record(start - due)
		}
		if freed > start { // was waiting when the one before let go
			w.handOver.record(inside - freed)
		}
		b.longest = max(b.longest, wait)
	case done:
		b.longest = max(b.longest, wait)
	}
}

// starved is how many got nothing.
func starved(shares []int64) (n int) {
	for _, share := range shares {
		if share == 0 {
			n++
		}
	}
	return n
}

func (w *worker) fail(err error) {
	w.failures++
	if w.firstError == nil {
		w.firstError = err
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// with fills in what the workers of t wrote down, and the error of leaving.
func (m *Measures) with(t *trial, leaving error) *Measures {
	if m == nil {
		m = new(Measures)
	}
	m.acquire, m.handOver, m.lag, m.followed = newLatencies(), newLatencies(), newLatencies(), newFollowed()
	for _, mode := range t.cell.About().Modes {
		m.Modes = append(m.Modes, ModeMeasures{Mode: mode, acquire: newLatencies()})
	}
	shares := make([]int64, t.cell.Contenders)
	for i, w := range t.workers {
		for mode, b := range w.modes {
			shares[i/t.cell.Goroutines] += b.counted
			m.acquire.merge(b.acquire)
			m.LongestWait = max(m.LongestWait, time.Duration(b.longest))
			if len(m.Modes) > 0 {
				m.Modes[mode].add(b)
			}
		}
		m.handOver.merge(w.handOver)
		m.followed.merge(w.followed)
		m.lag.merge(w.lag)
		m.Errors += w.failures
		if m.FirstError == "" && w.firstError != nil {
			m.FirstError = w.firstError.Error()
		}
	}
	if leaving != nil {
		m.Errors++
		m.FirstError = cmp.Or(m.FirstError, leaving.Error())
	}
	for _, n := range shares {
		m.Acquisitions += n
	}
	if m.Elapsed > 0 {
		m.Rate = float64(m.Acquisitions) / m.Elapsed.Seconds()
	}
	for i := range m.Modes {
		m.Modes[i].finish(m.Elapsed)
	}
	m.Acquire, m.HandOver = m.acquire.summary(), m.handOver.summary()
	if t.cell.Rate > 0 {
		lag := m.lag.summary()
		m.Lag = &lag
	}
	m.Jain, m.Shares, m.Starved = Jain(shares), shares, starved(shares)
	m.Succession = m.followed.summary(t.cell.Contenders)
	m.timeline = timeline(t.workers)
	m.PerAcquisition = perAcquisition(m)
	m.Safety = t.referee.Safety()
	return m
}
