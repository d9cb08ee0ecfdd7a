package line

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

// flakyKV loses requests, loses answers, and has requests arrive late.
type flakyKV struct {
	clientv3.KV
	rate int32
	wg   *sync.WaitGroup
}

type flakyTxn struct {
	clientv3.Txn
	kv *flakyKV
}

func (kv *flakyKV) Txn(ctx context.Context) clientv3.Txn {
	return &flakyTxn{kv.KV.Txn(context.WithoutCancel(ctx)), kv}
}

func (x *flakyTxn) If(cs ...clientv3.Cmp) clientv3.Txn { x.Txn = x.Txn.If(cs...); return x }

func (x *flakyTxn) Then(ops ...clientv3.Op) clientv3.Txn { x.Txn = x.Txn.Then(ops...); return x }

func (x *flakyTxn) Else(ops ...clientv3.Op) clientv3.Txn { x.Txn = x.Txn.Else(ops...); return x }

func (x *flakyTxn) Commit() (*clientv3.TxnResponse, error) {
	broken := status.Error(codes.Unavailable, "the connection broke")
	if rand.Int32N(100) >= x.kv.rate {
		return x.Txn.Commit()
	}
	switch rand.IntN(3) {
	case 0:
		return nil, broken
	case 1:
		_, _ = x.Txn.Commit()
		return nil, broken
	}
	x.kv.wg.Add(1)
	time.AfterFunc(time.Duration(rand.IntN(60))*time.Millisecond, func() { defer x.kv.wg.Done(); _, _ = x.Txn.Commit() })
	return nil, broken
}

func TestReadersAndWritersSurviveLostAndLateAnswers(t *testing.T) {
	name := etcdtest.Name(t)
	client := etcdtest.Shared(t).Client(t)
	var wg, lates sync.WaitGroup
	var readers, writers, turns atomic.Int32
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var sessions []*session.Session
	for range 3 {
		c := etcdtest.Shared(t).Client(t)
		c.KV = &flakyKV{c.KV, 20, &lates}
		s, err := session.Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, s)
		rw := NewRW(s.Keeper(), "rw", name, name+"/")
		for range 3 {
			wg.Go(func() {
				for ctx.Err() == nil {
					patience, cancel := context.WithTimeout(ctx, time.Duration(5+rand.IntN(100))*time.Millisecond)
					lane := Lane(rand.IntN(2))
					h, err := rw.Acquire(patience, lane, &Options{Handoffs: 3}, rand.IntN(4) == 0)
					cancel()
					if err != nil {
						continue
					}
					turns.Add(1)
					if lane == Write {
						if writers.Add(1) != 1 || readers.Load() != 0 {
							t.Error("a writer beside others")
						}
						if rand.IntN(2) == 0 {
							h.Token()
						}
						time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
						writers.Add(-1)
						if rand.IntN(2) == 0 {
							if err := h.Demote(context.Background()); err != nil {
								t.Errorf("demote: %v", err)
							}
							lane = Read
						}
					}
					if lane == Read {
						readers.Add(1)
						for range 5 {
							if writers.Load() != 0 {
								t.Error("a reader beside a writer")
							}
							time.Sleep(time.Millisecond)
						}
						readers.Add(-1)
					}
					if err := h.Release(context.Background()); err != nil {
						t.Errorf("release: %v", err)
					}
				}
			})
		}
	}
	wg.Wait()
	lates.Wait()
	time.Sleep(4 * time.Second)
	empty(t, client, name+"/")
	t.Log(turns.Load(), "turns")
	for _, s := range sessions {
		_ = s.Close(context.Background())
	}
	lates.Wait()
}

func TestSetsSurviveLostAndLateAnswers(t *testing.T) {
	name := etcdtest.Name(t)
	client := etcdtest.Shared(t).Client(t)
	var wg, lates sync.WaitGroup
	var inside [3]atomic.Int32
	var turns atomic.Int32
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var sessions []*session.Session
	for range 3 {
		c := etcdtest.Shared(t).Client(t)
		c.KV = &flakyKV{c.KV, 20, &lates}
		s, err := session.Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, s)
		var refs [3]*Ref
		for i := range refs {
			n := fmt.Sprintf("%s%d", name, i)
			refs[i] = &Ref{Keeper: s.Keeper(), Kind: "test", Name: n, Prefix: n + "/", Rule: Nobody}
		}
		for range 3 {
			wg.Go(func() {
				for ctx.Err() == nil {
					patience, cancel := context.WithTimeout(ctx, time.Duration(5+rand.IntN(100))*time.Millisecond)
					opts := &Options{Handoffs: 3}
					perm := rand.Perm(3)[:1+rand.IntN(3)]
					var release func(context.Context) error
					if rand.IntN(3) > 0 {
						var ms []Member
						for _, i := range perm {
							ms = append(ms, Member{refs[i], opts})
						}
						a, err := AcquireAll(patience, ms)
						cancel()
						if err != nil {
							continue
						}
						release = a.Release
					} else {
						perm = perm[:1]
						h, err := refs[perm[0]].Acquire(patience, opts, false)
						cancel()
						if err != nil {
							continue
						}
						if rand.IntN(2) == 0 {
							h.Token()
						}
						release = h.Release
					}
					turns.Add(1)
					for _, i := range perm {
						if inside[i].Add(1) != 1 {
							t.Error("two holders")
						}
					}
					time.Sleep(time.Duration(rand.IntN(4)) * time.Millisecond)
					for _, i := range perm {
						inside[i].Add(-1)
					}
					if err := release(context.Background()); err != nil {
						t.Errorf("release: %v", err)
					}
				}
			})
		}
	}
	wg.Wait()
	lates.Wait()
	time.Sleep(4 * time.Second)
	for i := range 3 {
		empty(t, client, fmt.Sprintf("%s%d/", name, i))
	}
	t.Log(turns.Load(), "turns")
	for _, s := range sessions {
		_ = s.Close(context.Background())
	}
	lates.Wait()
}
