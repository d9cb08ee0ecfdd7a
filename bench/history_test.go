package bench

import (
	"testing"
	"time"
)

func TestTimelineEndsWhereAPartOfItIsFull(t *testing.T) {
	a, b := &worker{history: history{most: 3}}, &worker{history: history{most: 3}}
	for i := range 5 { // more than has room
		a.history.add(Hold{Contender: 0, From: time.Duration(i) * 10 * time.Millisecond})
	}
	b.history.add(Hold{Contender: 1, From: 5 * time.Millisecond})
	b.history.add(Hold{Contender: 1, From: 25 * time.Millisecond}) // after that, a's are not known
	b.history.add(Hold{Contender: 1, From: 2 * time.Second})       // too late
	b.history.add(Hold{Contender: 1, From: -1})                    // too early
	got := timeline([]*worker{a, b})
	var from []time.Duration
	for _, h := range got {
		from = append(from, h.From/time.Millisecond)
	}
	if want := []time.Duration{0, 5, 10, 20}; len(from) != 4 || from[0] != want[0] || from[1] != want[1] || from[2] != want[2] || from[3] != want[3] {
		t.Errorf("%v", from)
	}
}

func TestCurveShowsOnlyWhatSoManyValuesCanTell(t *testing.T) {
	l := newLatencies()
	if l.curve() != nil {
		t.Errorf("of nothing: %v", l.curve())
	}
	for i := range 100 {
		l.record(int64(i+1) * 1000)
	}
	curve := l.curve()
	last := curve[len(curve)-1]
	if before := curve[len(curve)-2]; last != (Quantile{100, 100_000}) || before.Percent != 99 || before.Time < 98_000 || before.Time > 100_000 {
		t.Errorf("%v", curve)
	}
	for i := 1; i < len(curve); i++ {
		if curve[i].Time < curve[i-1].Time {
			t.Errorf("falls: %v", curve)
		}
	}
}
