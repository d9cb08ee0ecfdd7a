package election_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

// storm has n of etcd's candidates come, lead, say things and leave, until ctx ends.
func storm(ctx context.Context, t *testing.T, client *clientv3.Client, prefix string, n int) *sync.WaitGroup {
	var candidates sync.WaitGroup
	for i := range n {
		candidates.Go(func() {
			for round := 0; ctx.Err() == nil; round++ {
				s, err := concurrency.NewSession(client, concurrency.WithTTL(60))
				if err != nil {
					t.Error(err)
					return
				}
				for range 1 + rand.N(4) {
					try, cancel := context.WithTimeout(ctx, rand.N(300*time.Millisecond))
					e := concurrency.NewElection(s, prefix)
					if e.Campaign(try, fmt.Sprintf("%d.%d", i, round)) == nil {
						for word := range rand.N(5) {
							e.Proclaim(try, fmt.Sprintf("%d.%d says %d", i, round, word))
						}
						if rand.N(2) == 0 {
							e.Resign(ctx)
						}
					}
					cancel()
				}
				s.Close() // takes with it what is left
			}
		})
	}
	return &candidates
}

// history is what happened under a prefix, as a watch from the beginning tells it.
func history(ctx context.Context, client *clientv3.Client, prefix string, from int64, marker string) []election.Leader {
	states := []election.Leader{{}}
	present := map[string]*mvccpb.KeyValue{}
	for resp := range client.Watch(ctx, prefix+"/", clientv3.WithPrefix(), clientv3.WithRev(from)) {
		for i, ev := range resp.Events {
			if ev.Type == mvccpb.Event_DELETE {
				delete(present, string(ev.Kv.Key))
			} else {
				present[string(ev.Kv.Key)] = ev.Kv
			}
			if i+1 < len(resp.Events) && resp.Events[i+1].Kv.ModRevision == ev.Kv.ModRevision {
				continue
			}
			var now election.Leader
			for _, kv := range present {
				if now.Key == "" || fence.TokenAt(kv.CreateRevision, 0) < now.Token {
					now = election.Leader{Value: string(kv.Value), Token: fence.TokenAt(kv.CreateRevision, 0), Key: string(kv.Key)}
				}
			}
			if now != states[len(states)-1] {
				states = append(states, now)
			}
			if now.Value == marker {
				return states
			}
		}
	}
	return states
}

// Whatever is yielded was so, in that order, and the last of it is yielded: so no term and no value comes back, and
// nobody leads who only waited.
func TestObserversOfAStormSeeNothingButItsHistory(t *testing.T) {
	server, prefix := etcdtest.Shared(t), etcdtest.Name(t)
	client, p := server.Client(t), etcdtest.NewProxy(t, server)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	from := revision(t, client) + 1

	const marker = "the storm is over"
	var readers sync.WaitGroup
	var truth []election.Leader
	readers.Go(func() { truth = history(ctx, client, prefix, from, marker) })
	seen := make([][]election.Leader, 4)
	for i := range seen {
		through, slow := server.Client(t), i >= 2
		if i%2 == 1 {
			through = p.Client(t)
		}
		readers.Go(func() {
			for l, err := range election.Observe(ctx, through, "shown", election.WithPrefix(prefix)) {
				if err != nil {
					t.Error(err)
				}
				seen[i] = append(seen[i], l)
				if l.Value == marker {
					return
				}
				if slow {
					time.Sleep(rand.N(30 * time.Millisecond))
				}
			}
		})
	}

	raging, calm := context.WithTimeout(ctx, 2*time.Second)
	candidates := storm(raging, t, client, prefix, 5)
	for raging.Err() == nil {
		p.Cut()
		time.Sleep(rand.N(50 * time.Millisecond))
		p.Heal()
		time.Sleep(rand.N(200 * time.Millisecond))
		etcdtest.Compact(t, client)
	}
	calm()
	candidates.Wait()
	stand(t, client, prefix).lead(marker)
	readers.Wait()
	for i, states := range seen {
		at := 0
		for _, l := range states {
			for at < len(truth) && truth[at] != l {
				at++
			}
			if at == len(truth) {
				t.Fatalf("observer %d: %+v was never so, or is yielded too late", i, l)
			}
		}
		if len(states) == 0 || states[len(states)-1].Value != marker {
			t.Errorf("observer %d did not see the end", i)
		}
		t.Logf("observer %d: %d of %d states", i, len(states), len(truth))
	}
}
