package election

import (
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

func put(key string, create, mod int64, value string) *mvccpb.Event {
	return &mvccpb.Event{Type: mvccpb.Event_PUT, Kv: kv(key, create, mod, value)}
}

func del(key string, rev int64) *mvccpb.Event {
	return &mvccpb.Event{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: []byte(key), ModRevision: rev}}
}

func kv(key string, create, mod int64, value string) *mvccpb.KeyValue {
	return &mvccpb.KeyValue{Key: []byte(key), CreateRevision: create, ModRevision: mod, Value: []byte(value)}
}

func TestFirstToComeLeads(t *testing.T) {
	a, b, c := kv("a", 30, 30, "va"), kv("b", 10, 40, "vb"), kv("c", 20, 20, "vc")
	la, lb, lc := Leader{"va", 30, "a"}, Leader{"vb", 10, "b"}, Leader{"vc", 20, "c"}
	for what, test := range map[string]struct {
		listed []*mvccpb.KeyValue
		events []*mvccpb.Event
		want   Leader
	}{
		"nobody":                        {nil, nil, Leader{}},
		"one":                           {kvs(a), nil, la},
		"in any order":                  {kvs(a, b, c), nil, lb},
		"the next follows":              {kvs(a, b, c), events(del("b", 50)), lc},
		"then the next":                 {kvs(a, b, c), events(del("b", 50), del("c", 51)), la},
		"and then nobody":               {kvs(a), events(del("a", 50)), Leader{}},
		"one who waited has left":       {kvs(a, b, c), events(del("c", 50)), lb},
		"one who comes waits":           {kvs(b), events(put("d", 50, 50, "vd")), lb},
		"one who comes to nobody leads": {nil, events(put("d", 50, 50, "vd")), Leader{"vd", 50, "d"}},
		"another value":                 {kvs(a, b), events(put("b", 10, 50, "new")), Leader{"new", 10, "b"}},
		"another value of one waiting":  {kvs(a, b), events(put("a", 30, 50, "new")), lb},
		"back in line at its end":       {kvs(b, c), events(del("b", 50), put("b", 51, 51, "vb")), lc},
		"left and came at one revision": {kvs(b), events(del("b", 50), put("b-1", 50, 50, "vb")), Leader{"vb", 50, "b-1"}},
		"known to the list":             {kvs(a, b), events(del("b", 45), put("x", 5, 5, "vx")), lb},
		"two of one transaction":        {kvs(kv("z", 10, 10, "vz"), b), nil, lb},
	} {
		var live standing
		live.list(45, test.listed)
		live.apply(test.events)
		if got, ok := live.leader(); !ok || got != test.want {
			t.Errorf("%s: %+v, want %+v", what, got, test.want)
		}
		var early standing // the same with a list that comes late
		early.apply(test.events)
		if got, ok := early.leader(); ok {
			t.Errorf("%s: %+v leads before the list is known", what, got)
		}
		early.list(45, test.listed)
		if got, _ := early.leader(); got != test.want {
			t.Errorf("%s, list last: %+v, want %+v", what, got, test.want)
		}
	}
}

func kvs(kvs ...*mvccpb.KeyValue) []*mvccpb.KeyValue { return kvs }
func events(evs ...*mvccpb.Event) []*mvccpb.Event    { return evs }

// etcd issue 18163: a watch may first hear of one who waits behind a leader that it has not heard of.
func TestFirstToBeHeardOfDoesNotLead(t *testing.T) {
	var s standing
	s.apply(events(put("late", 20, 20, "waits")))
	if got, ok := s.leader(); ok {
		t.Fatalf("%+v leads by hearsay", got)
	}
	s.list(30, kvs(kv("late", 20, 20, "waits"), kv("first", 10, 10, "leads")))
	if got, ok := s.leader(); !ok || got.Key != "first" {
		t.Fatalf("%+v leads", got)
	}
}

func TestTermsOfOneHistoryOnlyGrow(t *testing.T) {
	var s standing
	s.list(1, nil)
	var last Leader
	present := map[string]int64{}
	for rev := int64(2); rev < 5000; rev++ {
		key := string(rune('a' + rev*rev*7919%13)) // somebody comes, says something, or leaves
		create, stands := present[key]
		switch {
		case !stands:
			present[key] = rev
			s.apply(events(put(key, rev, rev, "")))
		case rev%3 == 0:
			s.apply(events(put(key, create, rev, "")))
		default:
			delete(present, key)
			s.apply(events(del(key, rev)))
		}
		got, _ := s.leader()
		if got.Key != "" && got.Token < last.Token {
			t.Fatalf("revision %d: from %+v back to %+v", rev, last, got)
		}
		if got.Key != "" {
			last = got
		}
	}
}

func TestReadThatIsBehindProvesNothing(t *testing.T) {
	a, b := kv("a", 10, 10, "va"), kv("b", 20, 20, "vb")
	for what, test := range map[string]struct {
		rev  int64
		head []*mvccpb.KeyValue
		want bool
	}{
		"the same":                    {60, kvs(b), false},
		"behind, another leader":      {45, kvs(a), false},
		"ahead, another leader":       {60, kvs(kv("c", 55, 55, "vc")), true},
		"ahead, another value":        {60, kvs(kv("b", 20, 55, "new")), true},
		"ahead, nobody":               {60, nil, true},
		"behind, nobody":              {45, nil, false},
		"ahead, but the same is said": {60, kvs(kv("b", 20, 55, "vb")), false},
	} {
		var s standing
		if s.missed(test.rev, test.head) {
			t.Errorf("%s: missed before the list is known", what)
		}
		s.list(40, kvs(a, b))
		s.apply(events(del("a", 50)))
		if got := s.missed(test.rev, test.head); got != test.want {
			t.Errorf("%s: missed %v, want %v", what, got, test.want)
		}
	}
}
