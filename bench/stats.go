package bench

import (
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Jain is Jain's index of fairness, (Σx)² / (n·Σx²): 1 when all are equal, 1/n when one has everything. Of nothing at
// all it is 1.
func Jain(shares []int64) float64 {
	var sum, squares float64
	for _, x := range shares {
		sum += float64(x)
		squares += float64(x) * float64(x)
	}
	if squares == 0 {
		return 1
	}
	return sum * sum / (float64(len(shares)) * squares)
}

// median of an even number of values is the mean of the middle two; of none, 0.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	mid := len(v) / 2
	if len(v)%2 == 1 {
		return v[mid]
	}
	return (v[mid-1] + v[mid]) / 2
}

// Latency is the summary of a histogram. Count is 0 when nothing of the kind happened: the rest says nothing then.
type Latency struct {
	Count int64         `json:"count"`
	P50   time.Duration `json:"p50_ns"`
	P90   time.Duration `json:"p90_ns"`
	P99   time.Duration `json:"p99_ns"`
	Max   time.Duration `json:"max_ns"`
}

const longestTracked = time.Hour

// latencies is a histogram of two significant digits, 36 KB whatever goes in, that keeps the exact maximum. Its values are
// nanoseconds, if nothing else is said.
type latencies struct {
	hist *hdrhistogram.Histogram
	max  int64
}

func newLatencies() *latencies {
	return &latencies{hist: hdrhistogram.New(1, int64(longestTracked), 2)}
}

// newCounts is for numbers instead of times, and smaller.
func newCounts() *latencies { return &latencies{hist: hdrhistogram.New(1, 1<<20, 2)} }

func (l *latencies) record(value int64) {
	l.max = max(l.max, value)
	_ = l.hist.RecordValue(min(max(value, 0), l.hist.HighestTrackableValue())) // in range: cannot fail
}

func (l *latencies) merge(o *latencies) {
	l.max = max(l.max, o.max)
	l.hist.Merge(o.hist)
}

func (l *latencies) summary() Latency {
	at := func(p float64) time.Duration { return time.Duration(min(l.hist.ValueAtPercentile(p), l.max)) }
	return Latency{Count: l.hist.TotalCount(), P50: at(50), P90: at(90), P99: at(99), Max: time.Duration(l.max)}
}
