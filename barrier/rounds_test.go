package barrier

import (
	"fmt"
	"reflect"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

func in(creates ...int64) []entry {
	entries := []entry{}
	for _, c := range creates {
		entries = append(entries, entry{key: fmt.Sprint("k", c), create: c, value: "2"})
	}
	return entries
}

func TestJudge(t *testing.T) {
	two := record{Round: 2, Through: 12, Rounds: []round{{1, []int64{3, 4}}, {2, []int64{11, 12}}}, mod: 13}
	for what, c := range map[string]struct {
		s      snapshot
		me     int64
		want   verdict
		number int64
	}{
		"alone":                         {snapshot{in: in(5)}, 5, wait, 0},
		"the last is in":                {snapshot{in: in(5, 6)}, 5, full, 0},
		"more than a round takes":       {snapshot{in: in(5, 6, 7)}, 7, full, 0},
		"not there":                     {snapshot{in: in(6)}, 5, gone, 0},
		"the newest round":              {snapshot{record: two, in: in(11, 12)}, 11, passed, 2},
		"an older round, heard of late": {snapshot{record: two, in: in(3, 11)}, 3, passed, 1},
		"passed, and deleted since":     {snapshot{record: two, in: in(12)}, 11, passed, 2},
		"the next round":                {snapshot{record: two, in: in(3, 4, 11, 12, 20)}, 20, wait, 0},
		"the next round is full":        {snapshot{record: two, in: in(3, 4, 11, 12, 20, 21)}, 20, full, 0},
		"turned away":                   {snapshot{record: two, in: in(10, 11)}, 10, broken, 0},
	} {
		v, r := c.s.judge(c.me, 2)
		if v != c.want || r.Number != c.number {
			t.Errorf("%s: %v, round %d", what, v, r.Number)
		}
	}
}

// published is a record as a reader finds it, written at revision.
func published(t *testing.T, r record, revision int64) record {
	t.Helper()
	got, err := decode(&mvccpb.KeyValue{Key: []byte("round"), Value: []byte(r.encode()), ModRevision: revision})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestFillTakesTheFirstAndKeepsRoundsThatSomebodyStandsIn(t *testing.T) {
	s := snapshot{in: in(5, 6, 7)}
	next, by := s.fill(2, false)
	if !reflect.DeepEqual(by, in(5, 6)) {
		t.Errorf("by %v", by)
	}
	s.record = published(t, next, 8)
	if want := (record{Round: 1, Through: 6, Rounds: []round{{1, []int64{5, 6}}}, mod: 8}); !reflect.DeepEqual(s.record, want) {
		t.Errorf("%+v", s.record)
	}
	s.in = in(6, 7) // 5 has left; and the next entry comes with the record itself, at 9
	next, by = s.fill(2, true)
	if !reflect.DeepEqual(by, in(7)) {
		t.Errorf("by %v", by)
	}
	s.record = published(t, next, 9)
	if want := (record{Round: 2, Through: 9, Rounds: []round{{1, []int64{6}}, {2, []int64{7, 9}}}, mod: 9}); !reflect.DeepEqual(s.record, want) {
		t.Errorf("%+v", s.record)
	}
	s.in = in(9, 10)
	s.record = published(t, s.breakUp(), 11)
	if want := (record{Round: 2, Through: 11, Rounds: []round{{2, []int64{9}}}, mod: 11}); !reflect.DeepEqual(s.record, want) {
		t.Errorf("%+v", s.record)
	}
	if v, _ := s.judge(10, 2); v != broken {
		t.Error(v)
	}
}

func TestDeparted(t *testing.T) {
	before := snapshot{in: in(5, 6)}
	for what, c := range map[string]struct {
		next snapshot
		want bool
	}{
		"nobody":                      {snapshot{in: in(5, 6, 7)}, false},
		"another":                     {snapshot{in: in(5, 7)}, true},
		"me":                          {snapshot{in: in(6)}, false},
		"another, after the round":    {snapshot{record: record{Through: 6}, in: in(5)}, false},
		"another, before a next full": {snapshot{record: record{Through: 5}, in: in(5)}, true},
	} {
		if got := before.departed(c.next, 5); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}

func TestRecordThatNobodyOfUsWroteIsAnError(t *testing.T) {
	for _, text := range []string{"", "x", `{"here":true}`} {
		if _, err := decode(&mvccpb.KeyValue{Key: []byte("round"), Value: []byte(text)}); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
