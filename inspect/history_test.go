package inspect_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fenceline/fenceline/fencetest"
	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/semaphore"
	"github.com/fenceline/fenceline/session"
)

// told is a history in words: who, for how many seconds as far as is known, how it ended.
func told(all []inspect.Held) string {
	var b strings.Builder
	for _, h := range all {
		name := "?"
		if h.Of != nil {
			name = h.Of.Name
		}
		fmt.Fprintf(&b, "%s %v %s\n", name, h.For().Round(time.Second), h.End)
	}
	return b.String()
}

func historyOf(t *testing.T, etcd *fencetest.Etcd, kind, name string) []inspect.Held {
	t.Helper()
	all, err := inspect.History(t.Context(), etcd.Client(t), kind, name)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestHistoryTellsWhoHeldForHowLongAndHowThatEnded(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		mutex := func(name string) (*lock.Mutex, *session.Session) {
			s := etcd.Session(t, session.WithName(name))
			return lock.New(s, "x"), s
		}
		a, _ := mutex("ann")
		b, _ := mutex("bob")
		c, dying := mutex("cid")
		d, closing := mutex("dot")
		e, _ := mutex("eve")
		f, _ := mutex("fay")
		first := held(t, a)
		next := map[string]<-chan *lock.Lock{}
		for _, m := range []struct {
			name string
			*lock.Mutex
		}{{"bob", b}, {"cid", c}, {"dot", d}, {"eve", e}, {"fay", f}} {
			next[m.name] = waits(t, m.Mutex)
		}
		time.Sleep(4 * time.Second)
		if err := first.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		second := <-next["bob"]
		time.Sleep(3 * time.Second)
		if err := second.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-next["cid"]
		time.Sleep(2 * time.Second)
		etcd.Revoke(dying.Lease())
		<-next["dot"]
		time.Sleep(5 * time.Second)
		if err := closing.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		fifth := <-next["eve"]
		time.Sleep(6 * time.Second)
		if err := inspect.Break(t.Context(), etcd.Client(t), inspect.Lock, "x", fifth.Token(), "enough"); err != nil {
			t.Fatal(err)
		}
		<-next["fay"]
		time.Sleep(2 * time.Second)
		all := historyOf(t, etcd, inspect.Lock, "x")
		want := "ann 4s released\nbob 3s released\ncid 2s died\ndot 5s closed\neve 6s broken\nfay 0s \n"
		if got := told(all); got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
		if broken := all[4].Broken; broken == nil || broken.Reason != "enough" {
			t.Errorf("%+v", all[4])
		}
	})
}

func TestHistoryReachesToTheLastCompaction(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		a, b := lock.New(etcd.Session(t, session.WithName("ann")), "x"), lock.New(etcd.Session(t, session.WithName("bob")), "x")
		for range 3 {
			if err := held(t, a).Release(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		l := held(t, a)
		got := waits(t, b)
		client := etcd.Client(t)
		if _, err := client.Compact(t.Context(), etcd.Revision()); err != nil {
			t.Fatal(err)
		}
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		second := <-got
		if err := second.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		all := historyOf(t, etcd, inspect.Lock, "x")
		if got := told(all); got != "ann 0s released\nbob 0s released\n" {
			t.Fatalf("%s", got)
		}
		if all[0].Entered != 0 || all[0].Left == 0 || all[1].Entered != all[0].Left {
			t.Errorf("%+v", all)
		}
	})
}

func TestHistoryOfASemaphoreKnowsThatSeveralHold(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		var permits []*semaphore.Permit
		for i := range 3 {
			m := semaphore.New(etcd.Session(t, session.WithName(fmt.Sprintf("s%d", i))), "x", 2)
			if i == 2 {
				go func() { _, _ = m.Acquire(t.Context(), 1) }()
				synctest.Wait()
				break
			}
			p, err := m.Acquire(t.Context(), 1)
			if err != nil {
				t.Fatal(err)
			}
			permits = append(permits, p)
		}
		time.Sleep(2 * time.Second)
		if got := told(historyOf(t, etcd, inspect.Semaphore, "x")); got != "s0 0s \ns1 0s \n" {
			t.Errorf("%s", got)
		}
		if err := permits[1].Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if got := told(historyOf(t, etcd, inspect.Semaphore, "x")); got != "s0 0s \ns1 2s released\ns2 0s \n" {
			t.Errorf("%s", got)
		}
	})
}
