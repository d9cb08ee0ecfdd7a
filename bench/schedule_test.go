package bench

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestTurnsAreDueAtTheRateWhateverBecameOfThoseBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &trial{began: time.Now().Add(-1)}
		s := newSchedule(Cell{Contenders: 2, Goroutines: 5, Rate: 1000}, 1, 3) // 100 a second for this one
		began, n := time.Now(), 0
		for time.Since(began) < 20*time.Second {
			due, ok := s.wait(t.Context(), tr)
			if now := tr.now(); !ok || due > now || due < now-int64(time.Millisecond) && n < 500 {
				t.Fatalf("turn %d was due at %d, and begins at %d", n, due, now)
			}
			if n++; n == 500 {
				time.Sleep(10 * time.Second) // a turn that takes long: those that were due meanwhile follow at once
			}
		}
		if n < 1800 || n > 2200 {
			t.Errorf("%d turns in 20 s, want about 2000", n)
		}
		tr.phase.Store(done)
		if _, ok := s.wait(t.Context(), tr); ok {
			t.Error("a turn after the end")
		}
	})
}

func TestWithoutARateATurnIsDueWhenTheLastOneIsOver(t *testing.T) {
	s := newSchedule(Cell{Contenders: 1, Goroutines: 1}, 1, 0)
	if due, ok := s.wait(t.Context(), &trial{}); due != 0 || !ok {
		t.Errorf("%d, %v", due, ok)
	}
}
