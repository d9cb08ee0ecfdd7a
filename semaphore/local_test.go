package semaphore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/fencetest"
	"github.com/fenceline/fenceline/semaphore"
	"github.com/fenceline/fenceline/session"
)

// waits acquires one unit in a goroutine.
func waits(ctx context.Context, m *semaphore.Semaphore) <-chan *semaphore.Permit {
	return waitsFor(ctx, m, 1)
}

func waitsFor(ctx context.Context, m *semaphore.Semaphore, n int64) <-chan *semaphore.Permit {
	got := make(chan *semaphore.Permit, 1)
	go func() {
		if p, err := m.Acquire(ctx, n); err == nil {
			got <- p
		}
		close(got)
	}()
	synctest.Wait()
	return got
}

// now is the permit that was granted by now; nil: none was.
func now(got <-chan *semaphore.Permit) *semaphore.Permit {
	synctest.Wait()
	select {
	case p := <-got:
		return p
	default:
		return nil
	}
}

// entries of the line.
func entries(etcd *fencetest.Etcd, name string) (n int) {
	for _, kv := range etcd.Keys() {
		if strings.HasPrefix(string(kv.Key), "fenceline/semaphore/"+name+"/line/") {
			n++
		}
	}
	return n
}

// inBubble is a session in a bubble, and its end.
func inBubble(t *testing.T, f func(t *testing.T, etcd *fencetest.Etcd, s *session.Session)) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		f(t, etcd, etcd.Session(t))
	})
}

func TestPermitIsHandedOnHereWithoutAWordToEtcd(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd, s *session.Session) {
		m := semaphore.New(s, "x", 2)
		var all sync.WaitGroup
		turn := func(times int) {
			for range 10 {
				all.Go(func() {
					for range times {
						p, err := m.Acquire(t.Context(), 1)
						if err != nil {
							t.Error(err)
							return
						}
						time.Sleep(10 * time.Millisecond)
						if err := p.Release(t.Context()); err != nil {
							t.Error(err)
						}
					}
				})
			}
		}
		turn(20)
		time.Sleep(500 * time.Millisecond) // some turns
		before := etcd.Revision()
		time.Sleep(400 * time.Millisecond)
		if after := etcd.Revision(); after != before {
			t.Errorf("%d writes while permits were handed on", after-before)
		}
		if n := entries(etcd, "x"); n != 2 {
			t.Errorf("%d entries for 2 who hold and 8 who wait here", n)
		}
		all.Wait()
		synctest.Wait()
		if n := entries(etcd, "x"); n != 0 {
			t.Errorf("%d entries are left", n)
		}
	})
}

// Others who wait get in after 32 grants in a row here, and nobody here is forgotten.
func TestOthersWhoWaitGetInAfterSomeHandOffs(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd, s *session.Session) {
		m, other := semaphore.New(s, "x", 1), semaphore.New(etcd.Session(t), "x", 1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		granted := 0
		var mu sync.Mutex
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				for ctx.Err() == nil {
					p, err := m.Acquire(ctx, 1)
					if err != nil {
						return
					}
					mu.Lock()
					granted++
					mu.Unlock()
					time.Sleep(10 * time.Millisecond)
					_ = p.Release(t.Context()) // however it goes
				}
			})
		}
		time.Sleep(time.Second)
		theirs := waits(t.Context(), other)
		mu.Lock()
		before := granted
		mu.Unlock()
		p := <-theirs
		mu.Lock()
		between := granted - before
		mu.Unlock()
		if between > 34 {
			t.Errorf("another process got in after %d grants here", between)
		}
		time.Sleep(time.Second)
		if err := p.Release(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		cancel()
		all.Wait()
		if granted < before+between+10 {
			t.Errorf("%d grants here, %d of them before another process came, %d until it got in", granted, before, between)
		}
	})
}

func TestLimitThatChangesCountsAlsoWhereAllIsHeldHere(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd, s *session.Session) {
		m := semaphore.New(s, "x", 0)
		if err := m.Resize(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		a, b := acquire(t, m, 1), acquire(t, m, 1)
		turn := waits(t.Context(), m)
		time.Sleep(time.Second)
		release(t, a)
		a = <-turn // handed on: by now the limit is known here, and no entry of those who wait next is needed
		third, fourth := waits(t.Context(), m), waits(t.Context(), m)
		time.Sleep(time.Second)
		if n := entries(etcd, "x"); n != 2 {
			t.Errorf("%d entries for 2 who hold and 2 who wait here", n)
		}
		if err := m.Resize(t.Context(), 3); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		c := now(third)
		if c == nil || now(fourth) != nil {
			t.Fatal("the limit has grown by one, and not one got in")
		}
		if err := m.Resize(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		for _, p := range []*semaphore.Permit{a, b} {
			release(t, p)
			time.Sleep(time.Second)
			if now(fourth) != nil {
				t.Fatal("more are held than the limit, and one got in")
			}
		}
		release(t, c)
		time.Sleep(time.Second)
		d := now(fourth)
		if d == nil {
			t.Fatal("nobody holds, and the one who waits does not get in")
		}
		release(t, d)
	})
}

func TestPermitWhoseGuardWasLookedAtIsNotHandedOn(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd, s *session.Session) {
		m, client := semaphore.New(s, "x", 1), etcd.Client(t)
		p := acquire(t, m, 1)
		guard := p.Guard()
		next := waits(t.Context(), m)
		release(t, p)
		time.Sleep(time.Second)
		q := now(next)
		if q == nil {
			t.Fatal("the next one does not get in")
		}
		resp, err := client.Txn(t.Context()).If(guard...).Then(clientv3.OpPut("k", "v")).Commit()
		if err != nil || resp.Succeeded {
			t.Errorf("the guard of a permit that was given back: %v, %v", resp, err)
		}
		release(t, q)
	})
}

func TestWaitForAPermitHeldHereEndsWithItsCtxAndWithTheSession(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd, s *session.Session) {
		m := semaphore.New(s, "x", 1)
		p := acquire(t, m, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := m.Acquire(ctx, 1)
		var waited *session.WaitError
		if took := time.Since(began); took != time.Second || !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &waited) || !waited.Holder.Here {
			t.Errorf("after %v: %v", took, err)
		}
		failed := make(chan error, 1)
		go func() {
			_, err := m.Acquire(t.Context(), 1)
			failed <- err
		}()
		synctest.Wait()
		if _, err := m.TryAcquire(t.Context(), 1); !errors.Is(err, semaphore.ErrExhausted) {
			t.Errorf("a try while one waits here: %v", err)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-failed; !errors.Is(err, session.ErrClosed) {
			t.Errorf("a wait when the Session is closed: %v", err)
		}
		if err := p.Release(t.Context()); !errors.Is(err, session.ErrClosed) {
			t.Errorf("release: %v", err)
		}
	})
}

// The lease is lost with what is held under it, and those who wait here get permits under the next one.
func TestLostPermitsAreFollowedByNewOnes(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd, s *session.Session) {
		m := semaphore.New(s, "x", 1)
		p := acquire(t, m, 1)
		next := waits(t.Context(), m)
		etcd.Expire(s.Lease())
		<-p.Context().Done()
		time.Sleep(10 * time.Second)
		q := now(next)
		if q == nil {
			t.Fatal("nobody holds, and the one who waits does not get in")
		}
		if err := p.Release(t.Context()); !errors.Is(err, session.ErrLost) {
			t.Errorf("release of what was lost: %v", err)
		}
		release(t, q)
	})
}

// Who waits for many units has a place in etcd's line, although this Session holds so much that nobody else can make room.
func TestLargeRequestIsNotOvertakenFromElsewhereNorFromHere(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd, s *session.Session) {
		m, other := semaphore.New(s, "x", 5), semaphore.New(etcd.Session(t), "x", 5)
		p := acquire(t, m, 2)
		large := waitsFor(t.Context(), m, 4)
		time.Sleep(time.Second)
		there, here := waits(t.Context(), other), waits(t.Context(), m)
		time.Sleep(time.Second)
		if now(there) != nil || now(here) != nil {
			t.Fatal("a small request has overtaken a large one")
		}
		release(t, p)
		time.Sleep(time.Second)
		q := now(large)
		if q == nil {
			t.Fatal("the large request does not get in")
		}
		release(t, <-there)
		release(t, q)
		release(t, <-here)
	})
}

// Small permits that are handed on here do not keep a large request of the same Session waiting, nor one whose Semaphore was made otherwise.
func TestNobodyHereStarvesBesideThoseWhoHandOn(t *testing.T) {
	for what, c := range map[string]struct{ limit, units int64 }{"a larger request": {4, 2}, "a semaphore that accepts any limit": {0, 1}} {
		t.Run(what, func(t *testing.T) {
			inBubble(t, func(t *testing.T, etcd *fencetest.Etcd, s *session.Session) {
				m := semaphore.New(s, "x", 4)
				stays := acquire(t, m, 2) // and would do for the next one of two units, if it were given back
				ctx, cancel := context.WithCancel(t.Context())
				var all sync.WaitGroup
				for range 6 {
					all.Go(func() {
						for ctx.Err() == nil {
							p, err := m.Acquire(ctx, 1)
							if err != nil {
								return
							}
							time.Sleep(10 * time.Millisecond)
							_ = p.Release(t.Context()) // however it goes
						}
					})
				}
				time.Sleep(time.Second)
				got := waitsFor(t.Context(), semaphore.New(s, "x", c.limit), c.units)
				time.Sleep(10 * time.Second)
				p := now(got)
				cancel()
				all.Wait()
				if p == nil {
					t.Error("others are granted one permit after the other, and it waits")
					p = <-got
				}
				release(t, p)
				release(t, stays)
			})
		})
	}
}

func TestManyWhoGiveUpLeaveNothing(t *testing.T) {
	for _, held := range []bool{true, false} {
		t.Run(fmt.Sprintf("held here %v", held), func(t *testing.T) {
			inBubble(t, func(t *testing.T, etcd *fencetest.Etcd, s *session.Session) {
				m, other := semaphore.New(s, "x", 2), semaphore.New(etcd.Session(t), "x", 2)
				holder := other
				if held {
					holder = m
				}
				p := acquire(t, holder, 2)
				var all sync.WaitGroup
				for i := range 50 {
					all.Go(func() {
						ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
						defer cancel()
						if _, err := m.Acquire(ctx, int64(1+i%2)); !errors.Is(err, context.DeadlineExceeded) {
							t.Error(err)
						}
					})
				}
				all.Wait()
				time.Sleep(10 * time.Second)
				if n := entries(etcd, "x"); n != 1 {
					t.Errorf("%d entries, where one holds", n)
				}
				release(t, p)
				time.Sleep(time.Second)
				if n := entries(etcd, "x"); n != 0 {
					t.Errorf("%d entries are left", n)
				}
			})
		})
	}
}
