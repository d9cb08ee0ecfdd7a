package bench

import (
	"cmp"
	"context"
	"time"
)

// retryAfter keeps a subject that fails at once from burning the processor.
const retryAfter = 10 * time.Millisecond

// worker is one goroutine that takes the lock again and again, and keeps its own books: no worker touches another's.
type worker struct {
	trial  *trial
	locker Locker

	holds      int64 // all, counted or not
	counted    int64
	acquire    *latencies
	handOver   *latencies
	longest    int64
	failures   int64
	firstError error
}

func newWorker(t *trial, l Locker) *worker {
	return &worker{trial: t, locker: l, acquire: newLatencies(), handOver: newLatencies()}
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

// turn takes the lock once. It is false when it is time to leave.
func (w *worker) turn(acquiring, releasing context.Context) bool {
	t := w.trial
	if t.phase.Load() == done {
		return false
	}
	start := t.now()
	if err := w.locker.Lock(acquiring); err != nil {
		if acquiring.Err() != nil {
			w.longest = max(w.longest, t.now()-start) // it ended without an acquisition, but it was a wait
			return false
		}
		w.fail(err)
		sleep(acquiring, retryAfter)
		return true
	}
	inside, previous := t.now(), t.released.Load()
	t.released.Store(w.hold(acquiring, inside))
	if err := w.locker.Unlock(releasing); err != nil {
		w.fail(err)
	}
	w.record(start, inside, previous)
	return true
}

// hold is the critical section. It returns when it was over.
func (w *worker) hold(ctx context.Context, inside int64) (over int64) {
	t := w.trial
	count := t.enter()
	if t.cell.Fenced {
		t.fenced.write(t.place.Prefix, w.locker.Token())
	}
	if t.cell.Hold > 0 && t.phase.Load() != done {
		sleep(ctx, t.cell.Hold)
	}
	if t.cell.Hold > 0 || t.cell.Fenced {
		inside = t.now() // else a few nanoseconds ago is as good
	}
	t.leave(count)
	w.holds++
	return inside
}

// record comes after Unlock, where it delays nobody else.
func (w *worker) record(start, inside, previous int64) {
	wait := inside - start
	switch w.trial.phase.Load() {
	case measuring:
		w.counted++
		w.acquire.record(wait)
		if previous > start { // was waiting when the one before let go
			w.handOver.record(inside - previous)
		}
		w.longest = max(w.longest, wait)
	case done:
		w.longest = max(w.longest, wait)
	}
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
	m.acquire, m.handOver = newLatencies(), newLatencies()
	shares := make([]int64, t.cell.Contenders)
	var holds int64
	for i, w := range t.workers {
		holds += w.holds
		shares[i/t.cell.Goroutines] += w.counted
		m.acquire.merge(w.acquire)
		m.handOver.merge(w.handOver)
		m.LongestWait = max(m.LongestWait, time.Duration(w.longest))
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
	m.Acquire, m.HandOver = m.acquire.summary(), m.handOver.summary()
	m.Jain = Jain(shares)
	m.PerAcquisition = perAcquisition(m.Cost, m.Acquisitions)
	m.Safety = Safety{
		Overlaps:       t.overlaps.Load(),
		LostUpdates:    holds - t.count.Load(),
		StaleTokens:    t.fenced.stale.Load(),
		RepeatedTokens: t.fenced.repeated,
	}
	return m
}
