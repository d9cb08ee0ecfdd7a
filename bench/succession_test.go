package bench

import "testing"

// follow has contenders take turns in this order, n times.
func follow(contenders int, order []int, n int) *Succession {
	s, f := newSuccession(contenders), newFollowed()
	for range n {
		for _, c := range order {
			f.add(s.take(c))
		}
	}
	return f.summary(contenders)
}

func TestSuccessionTellsACircleFromAMonopoly(t *testing.T) {
	if s := follow(3, []int{0, 1, 2}, 10); s.Share() != 1 || s.Again.P50 != 3 || s.Again.Max != 3 || s.Again.Count != 27 {
		t.Errorf("a circle: %+v", s)
	}
	// The share of the whole run is even in both: Jain's index cannot tell them apart.
	if s := follow(3, []int{0, 0, 0, 1, 1, 1, 2, 2, 2}, 10); s.Distinct != 1 || s.Again.P50 != 1 || s.Again.Max != 7 {
		t.Errorf("three each in a row: %+v", s)
	}
	if s := follow(4, []int{1, 2}, 10); s.Distinct != 2 || s.Share() != 0.5 {
		t.Errorf("two of four: %+v", s)
	}
}

func TestSuccessionOfOneIsNone(t *testing.T) {
	if s := follow(1, []int{0}, 3); s != nil {
		t.Errorf("%+v", s)
	}
}
