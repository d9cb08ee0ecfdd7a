package bench_test

import (
	"testing"
	"time"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/subject/local"
)

// Ten times as many turns are due as the lock can give: in a closed loop nobody waits, in an open one the wait grows.
func TestOpenLoopCountsTheWaitFromWhenATurnWasDue(t *testing.T) {
	cell := bench.Cell{Contenders: 1, Goroutines: 1, Hold: 10 * time.Millisecond}
	cfg := small(t, cell, local.New())
	cfg.Duration = 500 * time.Millisecond
	if m := run(t, cfg).Cells[0].Subjects[0].Measures; m.Acquire.P90 > 5*time.Millisecond || m.Lag != nil {
		t.Errorf("closed: %+v, %+v", m.Acquire, m.Lag)
	}
	cfg.Cells[0].Rate = 1000
	m := run(t, cfg).Cells[0].Subjects[0].Measures
	if m.Acquire.P90 < 100*time.Millisecond || m.Lag == nil || m.Lag.P90 < 100*time.Millisecond || m.LongestWait < m.Acquire.P90 {
		t.Errorf("open: %+v, %+v", m.Acquire, m.Lag)
	}
}
