package bench

import "testing"

// seen plays turns on a gauge of two names with room for three: each of them enters in order, then leaves in order.
func seen(turns ...Turn) Safety {
	g := NewGauge(2, 3)
	for i := range turns {
		g.Enter(&turns[i], nil)
	}
	for i := range turns {
		g.Leave(&turns[i], 1)
	}
	alone := Turn{Units: 3, Names: []int{0, 1}}
	g.Enter(&alone, nil)
	g.Leave(&alone, 2)
	return g.Safety()
}

func TestGaugeSeesWhoMayNotBeThere(t *testing.T) {
	write, read := Turn{Units: 3, Names: []int{0}}, Turn{Units: 1, Names: []int{0}}
	elsewhere := Turn{Units: 3, Names: []int{1}}
	for what, c := range map[string]struct {
		turns []Turn
		want  Safety
	}{
		"readers side by side":        {[]Turn{read, read, read}, Safety{}},
		"one more than there is room": {[]Turn{read, read, read, read}, Safety{Overlaps: 1}},
		"writers of two names":        {[]Turn{write, elsewhere}, Safety{}},
		"two writers":                 {[]Turn{write, write}, Safety{Overlaps: 1, LostUpdates: 1}},
		"reader beside a writer":      {[]Turn{write, read}, Safety{Overlaps: 1, TornReads: 1}},
		"writer beside a reader":      {[]Turn{read, write}, Safety{Overlaps: 1}},
		"both names, one taken":       {[]Turn{elsewhere, {Units: 3, Names: []int{0, 1}}}, Safety{Overlaps: 1, LostUpdates: 1}},
	} {
		if got := seen(c.turns...); got != c.want {
			t.Errorf("%s: %+v, want %+v", what, got, c.want)
		}
	}
}

func TestHandOverIsFromTheOneInTheWay(t *testing.T) {
	g := NewGauge(2, 3)
	pass := func(at int64, turn Turn) (freed int64) {
		freed = g.Enter(&turn, nil)
		g.Leave(&turn, at)
		return freed
	}
	write, read := Turn{Units: 3, Names: []int{0}}, Turn{Units: 1, Names: []int{0}}
	if got := pass(10, write); got != 0 {
		t.Errorf("the first one waited for one who left at %d", got)
	}
	if got := pass(20, read); got != 10 {
		t.Errorf("the reader waited until %d, want 10, for the writer", got)
	}
	if got := pass(30, read); got != 10 {
		t.Errorf("the second reader waited until %d, want 10: other readers are not in the way", got)
	}
	if got := pass(40, write); got != 30 {
		t.Errorf("the writer waited until %d, want 30, for the last reader", got)
	}
	if got := pass(50, Turn{Units: 3, Names: []int{1}}); got != 0 {
		t.Errorf("other name: waited until %d, want 0", got)
	}
	if got := pass(60, Turn{Units: 3, Names: []int{0, 1}}); got != 50 {
		t.Errorf("both names: waited until %d, want 50, for the later one", got)
	}
}
