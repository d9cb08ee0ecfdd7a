package bench

import (
	"math"
	"testing"
	"time"
)

func TestJain(t *testing.T) {
	for _, c := range []struct {
		shares []int64
		want   float64
	}{
		{[]int64{5}, 1},
		{[]int64{7, 7, 7, 7}, 1},
		{[]int64{9, 0, 0}, 1.0 / 3},
		{[]int64{1, 2, 3}, 36.0 / 42},
		{[]int64{0, 0}, 1},
		{nil, 1},
	} {
		if got := Jain(c.shares); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("Jain(%v) = %v, want %v", c.shares, got, c.want)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{3}, 3},
		{[]float64{9, 1}, 5},
		{[]float64{9, 1, 2}, 2},
	} {
		if got := median(c.values); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.values, got, c.want)
		}
	}
}

func TestPercentilesAreWithinOnePercentAndMaximumIsExact(t *testing.T) {
	l := newLatencies()
	for us := range 1000 {
		l.record(int64(us+1) * 1000)
	}
	got := l.summary()
	near := func(what string, got, want time.Duration) {
		if diff := math.Abs(float64(got-want)) / float64(want); diff > 0.01 {
			t.Errorf("%s is %v, want %v", what, got, want)
		}
	}
	near("p50", got.P50, 500*time.Microsecond)
	near("p90", got.P90, 900*time.Microsecond)
	near("p99", got.P99, 990*time.Microsecond)
	if got.Max != time.Millisecond || got.Count != 1000 {
		t.Errorf("max %v of %d, want 1ms of 1000", got.Max, got.Count)
	}
}

func TestLatenciesTakeWhateverComes(t *testing.T) {
	l := newLatencies()
	l.record(-1)
	l.record(int64(2 * longestTracked))
	if got := l.summary(); got.Count != 2 || got.Max != 2*longestTracked {
		t.Errorf("got %+v, want both", got)
	}
	if got := newLatencies().summary(); got != (Latency{}) {
		t.Errorf("of nothing: %+v", got)
	}
}

func TestSummaryTakesRoundsTogether(t *testing.T) {
	round := func(rate, jain float64, waits ...int64) Measures {
		m := Measures{Elapsed: time.Second, Acquisitions: 100, Counted: int64(len(waits)), Rate: rate, Jain: jain, acquire: newLatencies(), handOver: newLatencies(), followed: newFollowed(),
			Shares: []int64{1, 1}, Starved: len(waits) - 1, Client: Usage{CPU: 6, Allocated: 60, Heap: int64(len(waits))}}
		for _, w := range waits {
			m.acquire.record(w)
			m.LongestWait = max(m.LongestWait, time.Duration(w))
		}
		m.Cost.Proposals = 2 * m.Counted
		m.Cost.Sent, m.Cost.Received = 3*m.Counted, 4*m.Counted
		m.followed.add(0, true)
		m.followed.add(1, false)
		return m
	}
	got := summarize([]Measures{round(10, 1, 5, 6), round(30, 0.5, 7)})
	if got.Rate != 20 || got.Jain != 0.75 || got.Acquisitions != 200 || got.Counted != 3 || got.Acquire.Count != 3 || got.LongestWait != 7 ||
		got.Acquire.P50 != 6 || got.PerAcquisition.Proposals != 2 || got.Elapsed != 2*time.Second {
		t.Errorf("got %+v", got)
	}
	if per := got.PerAcquisition; per.Bytes != 7 || per.CPU != 4 || per.Allocated != 40 || got.Client.Heap != 2 || got.Starved != 1 {
		t.Errorf("got %+v of %+v, starved %d", per, got.Client, got.Starved)
	}
	if got.Succession == nil || *got.Succession != (Succession{Window: 2, Distinct: 1, Again: Turns{Count: 2, P50: 1, P99: 1, Max: 1}}) {
		t.Errorf("got %+v", got.Succession)
	}
	if s := subjectResult("a", []Measures{round(10, 1, 5, 6), round(30, 0.5, 7)}); s.Slowest != 10 || s.Fastest != 30 {
		t.Errorf("rounds from %v to %v", s.Slowest, s.Fastest)
	}
}

func TestRatioIsToTheLastSubject(t *testing.T) {
	rates := func(rates ...float64) CellResult {
		var c CellResult
		for _, r := range rates {
			c.Subjects = append(c.Subjects, SubjectResult{Measures: Measures{Rate: r}})
		}
		c.compare()
		return c
	}
	if c := rates(80, 10, 20); c.Subjects[0].Ratio != 4 || c.Subjects[1].Ratio != 0.5 || c.Subjects[2].Ratio != 1 {
		t.Errorf("got %+v", c.Subjects)
	}
	if c := rates(80); c.Subjects[0].Ratio != 0 {
		t.Errorf("one subject has the ratio %v to itself", c.Subjects[0].Ratio)
	}
	if c := rates(80, 0); c.Subjects[0].Ratio != 0 {
		t.Errorf("ratio to nothing is %v", c.Subjects[0].Ratio)
	}
}
