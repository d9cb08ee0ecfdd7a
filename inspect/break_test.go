package inspect_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/fencetest"
	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

func inBubble(t *testing.T, f func(t *testing.T, etcd *fencetest.Etcd)) {
	synctest.Test(t, func(t *testing.T) { f(t, fencetest.Start(t)) })
}

func held(t *testing.T, m *lock.Mutex) *lock.Lock {
	t.Helper()
	l, err := m.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// waits acquires in a goroutine.
func waits(t *testing.T, m *lock.Mutex) <-chan *lock.Lock {
	got := make(chan *lock.Lock, 1)
	go func() {
		l, err := m.Acquire(t.Context())
		if err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
		got <- l
	}()
	synctest.Wait()
	return got
}

func read(t *testing.T, etcd *fencetest.Etcd) *inspect.Snapshot {
	t.Helper()
	s, err := inspect.Read(t.Context(), etcd.Client(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBreakEndsTheHoldThatWasLookedAtAndSaysWhoDidAndWhy(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		a, b := lock.New(etcd.Session(t), "x"), lock.New(etcd.Session(t), "x")
		first := held(t, a)
		next := waits(t, b)
		time.Sleep(3 * time.Second)
		line := read(t, etcd).Line(inspect.Lock, "x")
		if len(line.Entries) != 2 || line.Entries[0].State != inspect.Holds || line.Entries[1].State != inspect.Waits {
			t.Fatalf("%+v", line)
		}
		token := line.Entries[0].Token
		if err := inspect.Break(t.Context(), etcd.Client(t), inspect.Lock, "x", token, "it hangs", inspect.WithActor("ann")); err != nil {
			t.Fatal(err)
		}
		<-first.Context().Done()
		cause := context.Cause(first.Context())
		var by *session.BrokenError
		if !errors.As(cause, &by) || by.By != "ann" || by.Reason != "it hangs" || !errors.Is(cause, session.ErrEntryGone) || !errors.Is(cause, session.ErrLost) {
			t.Errorf("cause: %v", cause)
		}
		second := <-next
		if second == nil || second.Token() <= token {
			t.Fatalf("the next one: %v", second)
		}
		if err := inspect.Break(t.Context(), etcd.Client(t), inspect.Lock, "x", token, "again"); !errors.Is(err, inspect.ErrNotThere) {
			t.Errorf("a second time: %v", err)
		}
		time.Sleep(3 * time.Second)
		if err := second.Context().Err(); err != nil {
			t.Errorf("the next one: %v", context.Cause(second.Context()))
		}
	})
}

func TestBreakDoesNothingToWhoHasMovedOnOrOnlyWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		a, b := lock.New(etcd.Session(t), "x"), lock.New(etcd.Session(t), "x")
		first := held(t, a)
		old := first.Token()
		if err := first.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		second := held(t, a)
		waits(t, b)
		before := etcd.Revision()
		waiting := read(t, etcd).Line(inspect.Lock, "x").Entries[1].Token
		for what, token := range map[string]fence.Token{"one that was released": old, "one that waits": waiting, "one of nobody": 1 << 40} {
			if err := inspect.Break(t.Context(), etcd.Client(t), inspect.Lock, "x", token, "because"); !errors.Is(err, inspect.ErrNotThere) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if etcd.Revision() != before || second.Context().Err() != nil {
			t.Errorf("%d writes, the holder: %v", etcd.Revision()-before, second.Context().Err())
		}
	})
}

func TestBreakOfASetGivesAllOfItBack(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		s := etcd.Session(t)
		set, err := lock.AcquireAll(t.Context(), lock.New(s, "x"), lock.New(s, "y"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		token := read(t, etcd).Line(inspect.Lock, "y").Entries[0].Token
		if err := inspect.Break(t.Context(), etcd.Client(t), inspect.Lock, "y", token, "because"); err != nil {
			t.Fatal(err)
		}
		<-set.Context().Done()
		for _, kv := range etcd.Keys() {
			if !strings.Contains(string(kv.Key), "/session/") && !strings.Contains(string(kv.Key), "/broken/") {
				t.Errorf("%s is left", kv.Key)
			}
		}
		if lines := read(t, etcd).Lines; len(lines) > 0 {
			t.Errorf("%v", read(t, etcd))
		}
	})
}

func TestBreakRefusesWhatItCannotDoBeforeAnyWrite(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		l := held(t, lock.New(etcd.Session(t), "x"))
		before := etcd.Revision()
		for want, f := range map[string]func() error{
			"the reason is empty": func() error {
				return inspect.Break(t.Context(), etcd.Client(t), inspect.Lock, "x", l.Token(), "")
			},
			"token -1: it is not positive": func() error {
				return inspect.Break(t.Context(), etcd.Client(t), inspect.Lock, "x", -1, "because")
			},
			`lock "": it is empty`: func() error {
				return inspect.Break(t.Context(), etcd.Client(t), inspect.Lock, "", l.Token(), "because")
			},
		} {
			if err := f(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %s", err, want)
			}
		}
		if etcd.Revision() != before {
			t.Error("it has written")
		}
	})
}

// Two processes take two locks in opposite order, in functions of Do.
func TestDeadlockOfTwoProcessesIsFoundAndEndedByOneBreak(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		s, other := etcd.Session(t), etcd.Session(t)
		done := make(chan error, 2)
		nest := func(outer, inner *lock.Mutex) {
			done <- outer.Do(t.Context(), func(ctx context.Context, _ *lock.Lock) error {
				time.Sleep(100 * time.Millisecond)
				return inner.Do(ctx, func(context.Context, *lock.Lock) error { return nil })
			})
		}
		go nest(lock.New(s, "x"), lock.New(s, "y"))
		go nest(lock.New(other, "y"), lock.New(other, "x"))
		time.Sleep(5 * time.Second)
		found := read(t, etcd)
		deadlocks := found.Deadlocks()
		if len(deadlocks) != 1 || deadlocks[0].Possible || len(deadlocks[0].Waits) != 2 {
			t.Fatalf("%v in\n%v", deadlocks, found)
		}
		time.Sleep(time.Second)
		if len(read(t, etcd).Confirmed(deadlocks)) != 1 {
			t.Error("not confirmed")
		}
		e := found.Line(inspect.Lock, "x").Entries[0]
		if err := inspect.Break(t.Context(), etcd.Client(t), inspect.Lock, "x", e.Token, "deadlock"); err != nil {
			t.Fatal(err)
		}
		lost := 0
		for range 2 {
			if err := <-done; errors.Is(err, session.ErrLost) {
				lost++
			} else if err != nil {
				t.Error(err)
			}
		}
		if lost != 1 {
			t.Errorf("%d have lost", lost)
		}
	})
}

func TestAskIsHeardByTheHolderWhoMayKeepIt(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		heard := make(chan session.Request, 10)
		trace := &session.Trace{Asked: func(kind, name string, r session.Request) {
			if kind != inspect.Lock || name != "x" {
				t.Errorf("asked for %s %q", kind, name)
			}
			heard <- r
		}}
		a, b := lock.New(etcd.Session(t, session.WithTrace(trace)), "x"), lock.New(etcd.Session(t), "x")
		first := held(t, a)
		next := waits(t, b)
		here := waits(t, a) // another goroutine of the same process
		time.Sleep(2 * time.Second)
		if err := inspect.Ask(t.Context(), etcd.Client(t), inspect.Lock, "x", first.Token(), "maintenance", inspect.WithActor("ann")); err != nil {
			t.Fatal(err)
		}
		<-first.Asked()
		if r := <-heard; r.By != "ann" || r.Reason != "maintenance" {
			t.Errorf("%+v", r)
		}
		time.Sleep(30 * time.Second)
		if first.Context().Err() != nil || len(heard) > 0 {
			t.Errorf("who keeps it: %v, and heard %d times more", first.Context().Err(), len(heard))
		}
		if err := first.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if l := <-next; l == nil {
			t.Fatal("the other process did not get it")
		} else if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		l := <-here
		select {
		case <-l.Asked():
			t.Error("the next hold is asked for what the one before was")
		default:
		}
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, kv := range etcd.Keys() {
			if !strings.Contains(string(kv.Key), "/session/") {
				t.Errorf("%s is left", kv.Key)
			}
		}
		if n := etcd.Watches(); n > 2 { // of lines, for a while
			time.Sleep(10 * time.Second)
			if n := etcd.Watches(); n > 0 {
				t.Errorf("%d watches are left", n)
			}
		}
	})
}

func TestAskOfAHoldThatIsGoneAsksNobody(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		m := lock.New(etcd.Session(t), "x")
		l := held(t, m)
		token := l.Token()
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		held(t, m)
		before := etcd.Revision()
		if err := inspect.Ask(t.Context(), etcd.Client(t), inspect.Lock, "x", token, "because"); !errors.Is(err, inspect.ErrNotThere) {
			t.Error(err)
		}
		if etcd.Revision() != before {
			t.Error("it has written")
		}
	})
}

// A lease that is lost takes along what listened for it.
func TestNobodyListensForHoldsThatAreLost(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		s := etcd.Session(t)
		l := held(t, lock.New(s, "x"))
		time.Sleep(3 * time.Second)
		etcd.Revoke(s.Lease())
		<-l.Context().Done()
		time.Sleep(20 * time.Second)
		if n := etcd.Watches(); n > 0 {
			t.Errorf("%d watches are left", n)
		}
	})
}

// Whose hold is broken may not have heard of it.
func TestBrokenHoldCountsAsADeathForTheTakeoverDelay(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		a := lock.New(etcd.Session(t), "x")
		b := lock.New(etcd.Session(t), "x", lock.WithTakeoverDelay(7*time.Second))
		first := held(t, a)
		next := waits(t, b)
		time.Sleep(2 * time.Second)
		broken := time.Now()
		if err := inspect.Break(t.Context(), etcd.Client(t), inspect.Lock, "x", first.Token(), "because"); err != nil {
			t.Fatal(err)
		}
		if l := <-next; l == nil || time.Since(broken) < 7*time.Second {
			t.Errorf("granted after %v", time.Since(broken))
		}
	})
}

func TestNothingThatReadsWrites(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		l := held(t, lock.New(etcd.Session(t), "x"))
		waits(t, lock.New(etcd.Session(t), "x"))
		time.Sleep(3 * time.Second)
		revision, leases := etcd.Revision(), len(etcd.Leases())
		s := read(t, etcd)
		s.Deadlocks()
		historyOf(t, etcd, inspect.Lock, "x")
		if _, err := inspect.Front(t.Context(), etcd.Client(t), inspect.Lock, "x"); err != nil {
			t.Error(err)
		}
		if left, err := inspect.LeaseLeft(t.Context(), etcd.Client(t), &s.Line(inspect.Lock, "x").Entries[0]); err != nil || left <= 0 {
			t.Errorf("%v, %v", left, err)
		}
		if etcd.Revision() != revision || len(etcd.Leases()) != leases || l.Context().Err() != nil {
			t.Errorf("%d writes, %d leases more", etcd.Revision()-revision, len(etcd.Leases())-leases)
		}
	})
}
