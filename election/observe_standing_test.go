package election

import (
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/fenceline/fenceline/fence"
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

func led(value string, create int64, key string) Leader {
	return Leader{value, fence.TokenAt(create, 0), key}
}

func TestFirstToComeLeads(t *testing.T) {
	a, b, c := kv("a", 30, 30, "va"), kv("b", 10, 40, "vb"), kv("c", 20, 20, "vc")
	la, lb, lc := led("va", 30, "a"), led("vb", 10, "b"), led("vc", 20, "c")
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
		"one who comes to nobody leads": {nil, events(put("d", 50, 50, "vd")), led("vd", 50, "d")},
		"another value":                 {kvs(a, b), events(put("b", 10, 50, "new")), led("new", 10, "b")},
		"another value of one waiting":  {kvs(a, b), events(put("a", 30, 50, "new")), lb},
		"back in line at its end":       {kvs(b, c), events(del("b", 50), put("b", 51, 51, "vb")), lc},
		"left and came at one revision": {kvs(b), events(del("b", 50), put("b-1", 50, 50, "vb")), led("vb", 50, "b-1")},
		"two of one transaction":        {kvs(kv("z", 10, 10, "vz"), b), nil, lb},
	} {
		var live standing
		live.list(test.listed)
		live.apply(test.events)
		if got, ok := live.leader(); !ok || got != test.want {
			t.Errorf("%s: %+v, want %+v", what, got, test.want)
		}
	}
}

func kvs(kvs ...*mvccpb.KeyValue) []*mvccpb.KeyValue { return kvs }
func events(evs ...*mvccpb.Event) []*mvccpb.Event    { return evs }

func TestTermsOfOneHistoryOnlyGrow(t *testing.T) {
	var s standing
	s.list(nil)
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
