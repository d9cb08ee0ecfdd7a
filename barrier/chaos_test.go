package barrier

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

// crowd has parties enter and leave, until one has passed the last round.
func crowd(t *testing.T, sessions []*session.Session, name string, parties int, last int64, l *ledger) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	over, end := context.WithCancel(ctx)
	defer end()
	var wg sync.WaitGroup
	for i := range parties {
		b := New(sessions[i%len(sessions)], name, parties)
		wg.Go(func() {
			for over.Err() == nil {
				p, err := b.Enter(over)
				switch {
				case err == nil:
				case errors.Is(err, session.ErrLost), over.Err() != nil:
					continue
				default:
					t.Errorf("Enter: %v", err)
					return
				}
				l.add(p)
				if p.Round() >= last {
					end()
				}
				if err := p.Leave(ctx); err != nil && !errors.Is(err, session.ErrLost) {
					t.Errorf("Leave of round %d: %v", p.Round(), err)
				}
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		t.Error("somebody hung")
	}
}

func TestHundredPartiesAndRandomDeathsLetNobodyInEarlyAndNobodyHang(t *testing.T) {
	m := etcdtest.Start(t)
	client, name := m.Client(t), etcdtest.Name(t)
	since := now(t, client)
	var sessions []*session.Session
	for range 20 {
		sessions = append(sessions, opened(t, client))
	}
	kill, stop := context.WithCancel(t.Context())
	var killer sync.WaitGroup
	kills := 0
	killer.Go(func() {
		for kill.Err() == nil {
			if id := sessions[rand.IntN(len(sessions))].Lease(); id != clientv3.NoLease {
				_, _ = client.Revoke(context.Background(), id)
				kills++
			}
			etcd.Sleep(kill, time.Duration(rand.IntN(1000))*time.Millisecond)
		}
	})
	var l ledger
	began := time.Now()
	crowd(t, sessions, name, 100, 50, &l)
	took := time.Since(began)
	stop()
	killer.Wait()
	rounds := l.check(t, client, name, 100, since, false)
	t.Logf("%d rounds in %v, %d deaths", rounds, took, kills)
	standing(t, client, name, 0)
}

func TestRoundsOfEveryPartyAreTheSame(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	since := now(t, client)
	var l ledger
	crowd(t, []*session.Session{opened(t, client), opened(t, client)}, name, 8, 50, &l)
	if rounds := l.check(t, client, name, 8, since, true); rounds != 50 {
		t.Errorf("%d rounds", rounds)
	}
	standing(t, client, name, 0)
}

func TestCancelAtAnyMomentLeavesNoEntryAndAFullRoundStaysFull(t *testing.T) {
	for what, opts := range map[string][]Option{"plain": nil, "break": {WithBreak()}} {
		t.Run(what, func(t *testing.T) {
			client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
			since := now(t, client)
			var l ledger
			var wg sync.WaitGroup
			for range 2 {
				s := opened(t, client)
				for range 2 {
					b := New(s, name, 3, opts...) // one party more than needed
					wg.Go(func() {
						for range 150 {
							ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(8000))*time.Microsecond)
							p, err := b.Enter(ctx)
							cancel()
							if err == nil {
								l.add(p)
								if err := p.Leave(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
									t.Errorf("Leave: %v", err)
								}
							} else if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrBroken) {
								t.Errorf("Enter: %v", err)
							}
						}
					})
				}
			}
			wg.Wait()
			standing(t, client, name, 0)
			t.Log(l.check(t, client, name, 3, since, true), "rounds")
		})
	}
}

func TestRoundsSurviveLostAndLateAnswers(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	since := now(t, client)
	var flaky []*etcdtest.Flaky
	var sessions []*session.Session
	for range 3 {
		c := etcdtest.Shared(t).Client(t)
		flaky = append(flaky, etcdtest.NewFlaky(c, 20))
		t.Cleanup(flaky[len(flaky)-1].Settle)
		sessions = append(sessions, opened(t, c))
	}
	var l ledger
	crowd(t, sessions, name, 5, 40, &l)
	settle(flaky)
	standing(t, client, name, 0)
	if rounds := l.check(t, client, name, 5, since, false); rounds < 40 {
		t.Errorf("%d rounds", rounds)
	}
}

func settle(flaky []*etcdtest.Flaky) {
	for _, f := range flaky {
		f.Settle()
	}
}

func TestCancelsWithLostAndLateAnswersLeaveNoEntry(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	since := now(t, client)
	var wg sync.WaitGroup
	var flaky []*etcdtest.Flaky
	var l ledger
	for range 2 {
		c := etcdtest.Shared(t).Client(t)
		flaky = append(flaky, etcdtest.NewFlaky(c, 20))
		t.Cleanup(flaky[len(flaky)-1].Settle)
		s := opened(t, c)
		for range 2 {
			wg.Go(func() {
				for range 40 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(80))*time.Millisecond)
					p, err := New(s, name, 3).Enter(ctx)
					cancel()
					if err == nil {
						l.add(p)
						_ = p.Leave(ctx)
					}
				}
			})
		}
	}
	wg.Wait()
	settle(flaky)
	standing(t, client, name, 0)
	t.Log(l.check(t, client, name, 3, since, false), "rounds")
}

func TestEnterThatArrivesAfterItsPartyLeftFails(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	c := etcdtest.Shared(t).Client(t)
	kv := &heldKV{KV: c.KV}
	c.KV = kv
	s := opened(t, c)
	for range 2 {
		kv.hold.Store(1)
		p := mustPass(t, enters(t, New(s, name, 1))) // the repetition gets through
		leave(t, p)
		kv.arrive(t)
		standing(t, client, name, 0)
	}
	kv.hold.Store(2)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if _, err := New(s, name, 2).Enter(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Enter: %v", err)
	}
	kv.arrive(t)
	standing(t, client, name, 0)

	g := NewGate(s, name)
	kv.hold.Store(1)
	if err := errors.Join(g.Close(t.Context()), g.Open(t.Context())); err != nil {
		t.Fatal(err)
	}
	kv.arrive(t)
	if err := g.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}
