package watch_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

func TestCancelledWatchHearsNothingAndIsGoneInEtcd(t *testing.T) {
	m := etcdtest.Start(t)
	client := m.Client(t)
	s, _ := run(t, client)
	var cancelled, at, other seen
	stop := s.Watch("k", "", &cancelled)
	eventually(t, "the watch", cancelled.isCreated)
	stop()
	stop()                  // twice is once
	s.Watch("k", "", &at)() // cancelled before it could be created
	s.Watch("k", "", &other)
	eventually(t, "the next watch", other.isCreated)
	put(t, client, "k")
	eventually(t, "its event", func() bool { return other.count() == 1 })
	if cancelled.count() > 0 || at.count() > 0 || at.isCreated() || cancelled.end() != nil || at.end() != nil {
		t.Errorf("cancelled ones were told %q and %q", cancelled.keys(), at.keys())
	}
	eventually(t, "one watch in etcd", func() bool { return watchers(t, m) == 1 })
}

func TestRestartEndsAllWatchesAndLaterOnesWork(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s, _ := run(t, client)
	s.Restart() // of nothing
	var h [3]seen
	for i := range h {
		s.Watch(name, "", &h[i])
		eventually(t, "a watch", h[i].isCreated)
	}
	s.Restart()
	for i := range h {
		eventually(t, "its end", func() bool { return h[i].end() != nil })
	}
	var later seen
	s.Watch(name, "", &later)
	eventually(t, "a later watch", later.isCreated)
	put(t, client, name)
	eventually(t, "its event", func() bool { return later.count() == 1 })
	for i := range h {
		if len(h[i].ended) != 1 || h[i].count() > 0 {
			t.Errorf("ended %d times, %d events", len(h[i].ended), h[i].count())
		}
	}
}

func TestWatchesEndWithTheServerAndLaterOnesWork(t *testing.T) {
	m := etcdtest.Start(t)
	client := m.Client(t)
	s, _ := run(t, client)
	var before, after seen
	before.onEnd = func() { s.Watch("k", "", &after) } // as its owner would
	s.Watch("k", "", &before)
	eventually(t, "a watch", before.isCreated)
	m.Kill()
	eventually(t, "its end", func() bool { return before.end() != nil })
	eventually(t, "the end of another, while nobody is there", func() bool { return after.end() != nil })
	m.Restart(t)
	opens(t, s, "k")
}

func TestWatchEndsWhenNobodyAnswers(t *testing.T) {
	p := etcdtest.NewProxy(t, etcdtest.Start(t))
	p.Blackhole()
	// By itself gRPC gives a connection twenty seconds.
	s, _ := run(t, p.Client(t, func(cfg *clientv3.Config) { cfg.DialOptions = nil }))
	var h seen
	start := time.Now()
	s.Watch("k", "", &h)
	eventually(t, "an end", func() bool { return h.end() != nil })
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("ended after %v", took)
	}
	p.Heal()
	opens(t, s, "k")
}

func TestRunEndsWithCtxAndSoDoAllWatches(t *testing.T) {
	m := etcdtest.Start(t)
	for _, alive := range []bool{true, false} {
		s, stop := run(t, m.Client(t))
		var h seen
		s.Watch("k", "", &h)
		if alive {
			eventually(t, "a watch", h.isCreated)
		}
		stop()
		if err := h.end(); alive && !errors.Is(err, errOver) || err == nil {
			t.Errorf("ended with %v, want the cause of ctx", err)
		}
		m.Kill()
	}
}

func TestCompactionDoesNotEndAWatch(t *testing.T) {
	m := etcdtest.Start(t)
	client := m.Client(t)
	s, _ := run(t, client)
	var h seen
	s.Watch("k", "", &h)
	eventually(t, "a watch", h.isCreated)
	for i := range 5 {
		put(t, client, "k")
		etcdtest.Compact(t, client)
		eventually(t, "an event", func() bool { return h.count() == i+1 })
	}
	if err := h.end(); err != nil {
		t.Errorf("ended with %v", err)
	}
}

// A lease that dies takes all its keys in one revision, which etcd tells in one message.
func TestManyDeletesAtOnceDoNotEndAWatch(t *testing.T) {
	const n, size = 4500, 1000 // over 4 MiB of keys
	client, name := etcdtest.Start(t).Client(t), etcdtest.Name(t)
	lease, err := client.Grant(t.Context(), 600)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < n; {
		var ops []clientv3.Op
		for ; len(ops) < 128 && i < n; i++ {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("%s/%0*d", name, size, i), "", clientv3.WithLease(lease.ID)))
		}
		if _, err := client.Txn(t.Context()).Then(ops...).Commit(); err != nil {
			t.Fatal(err)
		}
	}
	s, _ := run(t, client)
	var h seen
	s.Watch(name+"/", name+"0", &h)
	eventually(t, "a watch", h.isCreated)
	if _, err := client.Revoke(t.Context(), lease.ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all events or an end", func() bool { return h.count() == n || h.end() != nil })
	if err := h.end(); err != nil {
		t.Errorf("ended with %v", err)
	}
}
