package barrier

import (
	"slices"
	"sync"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// ledger is what the parties of a test believe.
type ledger struct {
	mu     sync.Mutex
	passes map[int64][]int64 // per round, the entries of those who passed
}

func (l *ledger) add(p *Pass) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.passes == nil {
		l.passes = map[int64][]int64{}
	}
	l.passes[p.Round()] = append(l.passes[p.Round()], p.party.create)
}

// check holds it against all that has happened in etcd: whoever passed a round was published with it, at a revision at
// which as many entries stood as there are parties, his own among them. With all, everybody who was published has
// passed. It answers how many rounds there were.
func (l *ledger) check(t *testing.T, client *clientv3.Client, name string, parties int, since int64, all bool) int {
	t.Helper()
	at := &place{prefix: "fenceline/barrier/" + name + "/"}
	at.record, at.in = at.prefix+"round", at.prefix+"in/"
	resp, err := client.Get(t.Context(), "none")
	if err != nil {
		t.Fatal(err)
	}
	standing, published, number := map[string]int64{}, map[int64]bool{}, int64(0)
	for _, ev := range history(t, client, at.prefix, since, resp.Header.Revision) {
		key := string(ev.Kv.Key)
		switch {
		case ev.Type == mvccpb.Event_DELETE:
			delete(standing, key)
			continue
		case key != at.record:
			standing[key] = ev.Kv.CreateRevision
			continue
		}
		r, err := decode(ev.Kv)
		if err != nil {
			t.Fatal(err)
		}
		if r.Round == number { // broken
			continue
		}
		number++
		newest := r.Rounds[len(r.Rounds)-1]
		if r.Round != number || newest.Number != number || len(newest.In) != parties {
			t.Fatalf("after round %d: %+v", number-1, r)
		}
		for _, c := range newest.In {
			if published[c] {
				t.Errorf("round %d: entry %d was in another", number, c)
			}
			published[c] = true
			found := false
			for _, create := range standing {
				found = found || create == c
			}
			if !found && c != ev.Kv.ModRevision { // that one's entry is among the events of this very revision
				t.Errorf("round %d was published without entry %d", number, c)
			}
		}
		for _, c := range l.passes[number] {
			if !slices.Contains(newest.In, c) {
				t.Errorf("entry %d passed round %d, which was %v", c, number, newest.In)
			}
		}
		if passed := len(l.passes[number]); all && passed != parties {
			t.Errorf("round %d was full, and %d passed", number, passed)
		}
	}
	for r := range l.passes {
		if r < 1 || r > number {
			t.Errorf("round %d was never published", r)
		}
	}
	return int(number)
}

// history are all events from one revision to another.
func history(t *testing.T, client *clientv3.Client, prefix string, since, until int64) (events []*clientv3.Event) {
	t.Helper()
	if _, err := client.Put(t.Context(), prefix+"z", ""); err != nil { // the end of it
		t.Fatal(err)
	}
	for resp := range client.Watch(t.Context(), prefix, clientv3.WithPrefix(), clientv3.WithRev(since)) {
		if err := resp.Err(); err != nil {
			t.Fatal(err)
		}
		for _, ev := range resp.Events {
			if ev.Kv.ModRevision > until {
				return events
			}
			events = append(events, ev)
		}
	}
	t.Fatal("the history ended")
	return nil
}

func now(t *testing.T, client *clientv3.Client) int64 {
	t.Helper()
	resp, err := client.Get(t.Context(), "none")
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.Revision + 1
}
