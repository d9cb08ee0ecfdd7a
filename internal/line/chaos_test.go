package line

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/queue"
	"github.com/fenceline/fenceline/session"
)

func settle(flaky []*etcdtest.Flaky) {
	for _, f := range flaky {
		f.Settle()
	}
}

func TestReadersAndWritersSurviveLostAndLateAnswers(t *testing.T) {
	name := etcdtest.Name(t)
	client := etcdtest.Shared(t).Client(t)
	var wg sync.WaitGroup
	var flaky []*etcdtest.Flaky
	var readers, writers, turns atomic.Int32
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var sessions []*session.Session
	for range 3 {
		c := etcdtest.Shared(t).Client(t)
		flaky = append(flaky, etcdtest.NewFlaky(c, 20))
		s, err := session.Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, s)
		rw := bothSides(keeper.Of(s), name, name+"/")
		for range 3 {
			wg.Go(func() {
				for ctx.Err() == nil {
					patience, cancel := context.WithTimeout(ctx, time.Duration(5+rand.IntN(100))*time.Millisecond)
					lane := rand.IntN(2)
					h, err := rw.Acquire(patience, lane, &Options{Handoffs: 3}, rand.IntN(4) == 0)
					cancel()
					if err != nil {
						continue
					}
					turns.Add(1)
					if lane == writing {
						if writers.Add(1) != 1 || readers.Load() != 0 {
							t.Error("a writer beside others")
						}
						if rand.IntN(2) == 0 {
							h.Key(0)
						}
						time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
						writers.Add(-1)
						if rand.IntN(2) == 0 {
							if err := h.Demote(context.Background()); err != nil {
								t.Errorf("demote: %v", err)
							}
							lane = reading
						}
					}
					if lane == reading {
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
	settle(flaky)
	emptied(t, client, name+"/")
	t.Log(turns.Load(), "turns")
	for _, s := range sessions {
		_ = s.Close(context.Background())
	}
	settle(flaky)
}

func TestSetsSurviveLostAndLateAnswers(t *testing.T) {
	name := etcdtest.Name(t)
	client := etcdtest.Shared(t).Client(t)
	var wg sync.WaitGroup
	var flaky []*etcdtest.Flaky
	var inside [3]atomic.Int32
	var turns atomic.Int32
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var sessions []*session.Session
	for range 3 {
		c := etcdtest.Shared(t).Client(t)
		flaky = append(flaky, etcdtest.NewFlaky(c, 20))
		s, err := session.Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, s)
		var refs [3]*Ref
		for i := range refs {
			n := fmt.Sprintf("%s%d", name, i)
			refs[i] = &Ref{Keeper: keeper.Of(s), Kind: "test", Name: n, Prefix: n + "/", Policy: queue.Mutex}
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
						a, err := AcquireAll(patience, ms, false)
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
							h.Key(0)
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
	settle(flaky)
	for i := range 3 {
		emptied(t, client, fmt.Sprintf("%s%d/", name, i))
	}
	t.Log(turns.Load(), "turns")
	for _, s := range sessions {
		_ = s.Close(context.Background())
	}
	settle(flaky)
}
