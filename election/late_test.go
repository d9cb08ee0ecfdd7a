package election_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

// lateKV has the next transactions arrive when the test says so; their sender is told that the connection broke.
type lateKV struct {
	clientv3.KV
	mu   sync.Mutex
	hold int
	late []func() *clientv3.TxnResponse
}

type lateTxn struct {
	clientv3.Txn
	kv *lateKV
}

func (kv *lateKV) Txn(ctx context.Context) clientv3.Txn {
	return &lateTxn{kv.KV.Txn(context.WithoutCancel(ctx)), kv}
}

func (x *lateTxn) If(cs ...clientv3.Cmp) clientv3.Txn { x.Txn = x.Txn.If(cs...); return x }

func (x *lateTxn) Then(ops ...clientv3.Op) clientv3.Txn { x.Txn = x.Txn.Then(ops...); return x }

func (x *lateTxn) Else(ops ...clientv3.Op) clientv3.Txn { x.Txn = x.Txn.Else(ops...); return x }

func (x *lateTxn) Commit() (*clientv3.TxnResponse, error) {
	x.kv.mu.Lock()
	defer x.kv.mu.Unlock()
	if x.kv.hold == 0 {
		return x.Txn.Commit()
	}
	x.kv.hold--
	x.kv.late = append(x.kv.late, func() *clientv3.TxnResponse {
		resp, err := x.Txn.Commit()
		if err != nil {
			panic(err)
		}
		return resp
	})
	return nil, status.Error(codes.Unavailable, "the connection broke")
}

func (kv *lateKV) next(n int) { kv.mu.Lock(); kv.hold = n; kv.mu.Unlock() }

func (kv *lateKV) arrive() (took int) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	for _, f := range kv.late {
		if f().Succeeded {
			took++
		}
	}
	kv.late = nil
	return took
}

func stranger(t *testing.T, client *clientv3.Client, name string) clientv3.LeaseID {
	t.Helper()
	lease, err := client.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Put(t.Context(), "fenceline/election/"+name+"/stranger", "stranger", clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	return lease.ID
}

func candidatesOf(t *testing.T, client *clientv3.Client, name string) []election.Leader {
	t.Helper()
	cs, err := election.Candidates(t.Context(), client, name)
	if err != nil {
		t.Fatal(err)
	}
	return cs
}

// newcomerLeads says whether somebody who comes now ever leads.

func newcomerLeads(t *testing.T, client *clientv3.Client, name string) {
	t.Helper()
	keys := etcdtest.Keys(t, client, "fenceline/election/"+name+"/")
	if len(keys) > 0 {
		l, err := election.Current(t.Context(), client, name)
		t.Errorf("left behind: %q; Current says %+v, %v; Candidates %v", keys, l, err, candidatesOf(t, client, name))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	term, err := election.New(open(t, client), name).Campaign(ctx, "newcomer")
	if err != nil {
		t.Errorf("nobody leads, and a newcomer does not either: %v", err)
		return
	}
	resign(t, term)
}

func marked(t *testing.T, client *clientv3.Client, name string, n int) {
	t.Helper()
	etcdtest.Eventually(t, 5*time.Second, "a mark", func() bool {
		return strings.Count(fmt.Sprint(etcdtest.Keys(t, client, "fenceline/election/"+name+"/")), "next~") == n
	})
}

func faultyStorm(t *testing.T, transfers bool) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	ctx, stop := context.WithTimeout(t.Context(), 6*time.Second)
	defer stop()
	var inside atomic.Int32
	var terms, last, lastAt atomic.Int64
	var wg sync.WaitGroup
	var flaky []*etcdtest.Flaky
	lastAt.Store(time.Now().UnixNano())
	var worst atomic.Int64
	for i := range 4 {
		c := etcdtest.Shared(t).Client(t)
		flaky = append(flaky, etcdtest.NewFlaky(c, 15))
		s := open(t, c)
		for range 2 {
			wg.Go(func() {
				for ctx.Err() == nil {
					patience, cancel := context.WithTimeout(ctx, time.Duration(rand.IntN(300))*time.Millisecond)
					e := election.New(s, name, election.WithPriority(rand.IntN(3)-1))
					term, err := e.Campaign(patience, "same")
					cancel()
					if err != nil {
						if patience.Err() == nil {
							t.Error(err)
						}
						continue
					}
					terms.Add(1)
					now := time.Now().UnixNano()
					if gap := now - lastAt.Swap(now); gap > worst.Load() {
						worst.Store(gap)
					}
					if inside.Add(1) != 1 {
						t.Error("two lead")
					}
					if token := int64(term.Token()); last.Swap(token) >= token {
						t.Error("a token that does not grow")
					}
					if rand.IntN(3) == 0 {
						if err := term.Proclaim(t.Context(), "still "+fmt.Sprint(i)); err != nil {
							t.Error(err)
						}
					}
					inside.Add(-1)
					if cs, err := election.Candidates(t.Context(), client, name); transfers && err == nil && len(cs) > 1 && rand.IntN(2) == 0 {
						bounded, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
						err := term.TransferTo(bounded, cs[1+rand.IntN(len(cs)-1)].Key)
						cancel()
						if err == nil {
							continue
						}
					}
					if err := term.Resign(context.Background()); err != nil && !errors.Is(err, session.ErrNotHeld) {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	for _, f := range flaky {
		f.Heal()
	}
	t.Logf("%d terms, longest gap %v", terms.Load(), time.Duration(worst.Load()))
	time.Sleep(1500 * time.Millisecond)
	if keys := etcdtest.Keys(t, client, "fenceline/election/"+name+"/"); len(keys) != 0 {
		t.Errorf("left: %v", keys)
	}
}

func TestStormWithLostAnswersPrioritiesAndDeletions(t *testing.T) {
	for _, transfers := range []bool{false, true} {
		t.Run(fmt.Sprint("transfers=", transfers), func(t *testing.T) { faultyStorm(t, transfers) })
	}
}
