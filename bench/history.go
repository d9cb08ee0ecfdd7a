package bench

import (
	"errors"
	"io"
	"slices"
	"time"
)

// Hold is one turn as a time line shows it: who was inside, and when.
type Hold struct {
	Contender int           `json:"contender"`
	Mode      int           `json:"mode,omitempty"`
	From      time.Duration `json:"from_ns"` // since the measurement began
	Until     time.Duration `json:"until_ns"`
}

// A time line shows the first second of a measurement at most, and so many turns that it does not grow with the run.
const (
	historySpan  = time.Second
	historyHolds = 3000
)

// history is a worker's part of the time line.
type history struct {
	holds []Hold
	most  int
	full  bool // there were more
}

func (h *history) add(hold Hold) {
	switch {
	case h.most == 0 || hold.From < 0 || hold.From > historySpan:
	case len(h.holds) == h.most:
		h.full = true
	default:
		h.holds = append(h.holds, hold)
	}
}

// timeline puts the parts together. It ends where the first part is full: after that it would show some and not others.
func timeline(workers []*worker) []Hold {
	end := historySpan
	for _, w := range workers {
		if n := len(w.history.holds); w.history.full && n > 0 {
			end = min(end, w.history.holds[n-1].From)
		}
	}
	var all []Hold
	for _, w := range workers {
		for _, hold := range w.history.holds {
			if hold.From <= end {
				all = append(all, hold)
			}
		}
	}
	slices.SortFunc(all, func(a, b Hold) int { return int(a.From - b.From) })
	return all
}

// Quantile is a point of a latency curve: so many of a hundred took no longer.
type Quantile struct {
	Percent float64       `json:"percent"`
	Time    time.Duration `json:"ns"`
}

var curvePercents = []float64{0, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99, 100}

// WriteHgrm writes the percentiles of all acquires in HdrHistogram's text format, in milliseconds, for the plotters that
// read it. It is for a result of Run, of all rounds together: one that was read from JSON has no histogram, which is an
// error.
func (m *Measures) WriteHgrm(w io.Writer) error {
	if m.acquire == nil {
		return errors.New("bench: no histogram is kept with this result")
	}
	_, err := m.acquire.hist.PercentilesPrint(w, 5, float64(time.Millisecond))
	return err
}

// curve leaves out what so few values cannot tell.
func (l *latencies) curve() []Quantile {
	n := l.hist.TotalCount()
	var curve []Quantile
	for _, p := range curvePercents {
		if p == 100 || n > 0 && float64(n)*(100-p) >= 100 {
			at := time.Duration(min(l.hist.ValueAtPercentile(p), l.max))
			if p == 100 {
				at = time.Duration(l.max)
			}
			curve = append(curve, Quantile{p, at})
		}
	}
	if n == 0 {
		return nil
	}
	return curve
}
