package meter

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// Each duration is looked up by comparison with all ends.
func TestDurationIsCountedInTheBucketWhoseEndIsNotShorter(t *testing.T) {
	check := func(d time.Duration) {
		t.Helper()
		var h histogram
		h.observe(d)
		var s Histogram
		s.add(&h)
		seconds := max(d, 0).Seconds()
		want := lowest
		for want < highest+1 && seconds > math.Exp2(float64(want)/perOctave) {
			want++
		}
		s.Exponential(func(i int, n uint64) {
			// A float's rounding may move what lies on an end.
			if i != want && math.Abs(math.Exp2(float64(min(i, want))/perOctave)/seconds-1) > 1e-12 || n != 1 {
				t.Errorf("%v: bucket %d, %d times; want %d", d, i, n, want)
			}
		})
		for i, n := range s.UpTo() {
			if in := max(d, 0) <= Bounds[i]; in != (n == 1) {
				t.Errorf("%v: %d up to %v", d, n, Bounds[i])
			}
		}
		if s.Count != 1 || s.Sum != max(d, 0) {
			t.Errorf("%v: count %d, sum %v", d, s.Count, s.Sum)
		}
	}
	for _, d := range []time.Duration{-1, 0, 1, 953, 954, time.Microsecond, time.Second, 2 * time.Second, 4096 * time.Second, 4097 * time.Second, math.MaxInt64} {
		check(d)
	}
	for _, b := range Bounds {
		check(b - 1)
		check(b)
		check(b + 1)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		check(time.Duration(math.Exp2(r.Float64() * 45)))
	}
}

func TestHistogramsAddUp(t *testing.T) {
	var a, b histogram
	a.observe(time.Millisecond)
	b.observe(time.Millisecond)
	b.observe(time.Hour * 2)
	var s, other Histogram
	s.add(&a)
	other.add(&b)
	s.Add(&other)
	if s.Count != 3 || s.Sum != 2*time.Hour+2*time.Millisecond || s.UpTo()[2] != 2 || s.UpTo()[len(Bounds)-1] != 2 {
		t.Errorf("%+v", s)
	}
}

func BenchmarkObserve(b *testing.B) {
	var h histogram
	d := time.Microsecond
	for b.Loop() {
		h.observe(d)
		d += 37
	}
}
