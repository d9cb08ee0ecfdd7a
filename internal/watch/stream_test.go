package watch_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/internal/watch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errOver = errors.New("test over")

// run runs a stream until stop is called, or the test ends.
func run(t testing.TB, client *clientv3.Client) (s *watch.Stream, stop func()) {
	s = watch.New(pb.NewWatchClient(client.ActiveConnection()), "a/probe")
	ctx, cancel := context.WithCancelCause(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	stop = func() {
		cancel(errOver)
		wg.Wait()
	}
	t.Cleanup(stop)
	return s, stop
}

// seen is what one watch was told.
type seen struct {
	mu      sync.Mutex
	created int64
	events  []*mvccpb.Event
	ended   []error
	onEnd   func()
}

func (s *seen) Created(revision int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.created = revision
}

func (s *seen) Events(events []*mvccpb.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, events...)
}

func (s *seen) Ended(err error) {
	s.mu.Lock()
	s.ended = append(s.ended, err)
	f := s.onEnd
	s.mu.Unlock()
	if f != nil {
		f()
	}
}

func (s *seen) isCreated() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.created > 0
}

// end is why it ended; nil while it has not.
func (s *seen) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.ended...)
}

// keys are those of its events, in order.
func (s *seen) keys() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := ""
	for _, ev := range s.events {
		text += fmt.Sprintf("%s:%s ", strings.ToLower(ev.Type.String()), ev.Kv.Key)
	}
	return text
}

func (s *seen) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.events)
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	etcdtest.Eventually(t, 10*time.Second, what, holds)
}

func put(t testing.TB, client *clientv3.Client, key string) {
	t.Helper()
	if _, err := client.Put(t.Context(), key, ""); err != nil {
		t.Fatal(err)
	}
}

// opens waits until watches of key are possible.
func opens(t testing.TB, s *watch.Stream, key string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		var h seen
		s.Watch(key, "", &h)
		eventually(t, "an answer", func() bool { return h.isCreated() || h.end() != nil })
		if h.end() == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no watch, but %v", h.end())
		}
	}
}

func TestEventsOfAKeyOrARangeArriveInOrder(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s, _ := run(t, client)
	var one, all seen
	s.Watch(name+"/b", "", &one)
	s.Watch(name+"/", name+"0", &all)
	eventually(t, "both created", func() bool { return one.isCreated() && all.isCreated() })
	for _, key := range []string{"/a", "/b", "/c", "/b"} {
		put(t, client, name+key)
	}
	if _, err := client.Delete(t.Context(), name+"/b"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all events", func() bool { return one.count() == 3 && all.count() == 5 })
	if got, want := strings.ReplaceAll(one.keys(), name, ""), "put:/b put:/b delete:/b "; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := strings.ReplaceAll(all.keys(), name, ""), "put:/a put:/b put:/c put:/b delete:/b "; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestNothingAfterTheCreatedRevisionIsMissed(t *testing.T) {
	client, name := etcdtest.Start(t).Client(t), etcdtest.Name(t)
	s, _ := run(t, client)
	ctx, cancel := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	writer.Go(func() {
		for ctx.Err() == nil {
			client.Put(ctx, name, "")
		}
	})
	defer writer.Wait()
	defer cancel()
	for range 20 {
		var h seen
		stop := s.Watch(name, "", &h)
		eventually(t, "events", func() bool { return h.count() > 20 })
		stop()
		h.mu.Lock()
		first, last := h.events[0].Kv.ModRevision, h.events[len(h.events)-1].Kv.ModRevision
		if first > h.created+1 || int(last-first) != len(h.events)-1 {
			t.Errorf("created at %d, then %d events from %d to %d", h.created, len(h.events), first, last)
		}
		h.mu.Unlock()
	}
}

func TestRefusedWatchEndsAloneAmongThoseAskedForAtOnce(t *testing.T) {
	m := etcdtest.Start(t)
	root, user := withAuth(t, m, "a/")
	s, _ := run(t, user)
	var allowed, denied [10]seen
	for i := range 10 {
		s.Watch(fmt.Sprintf("a/%d", i), "", &allowed[i])
		s.Watch(fmt.Sprintf("b/%d", i), "", &denied[i])
	}
	for i := range 10 {
		eventually(t, "an answer to each", func() bool { return allowed[i].isCreated() && denied[i].end() != nil })
		if err := denied[i].end(); !errors.Is(err, rpctypes.ErrPermissionDenied) {
			t.Errorf("ended with %v", err)
		}
		put(t, root, fmt.Sprintf("a/%d", i))
		put(t, root, fmt.Sprintf("b/%d", i))
	}
	for i := range 10 {
		eventually(t, "its own event", func() bool { return allowed[i].keys() == fmt.Sprintf("put:a/%d ", i) })
		if allowed[i].end() != nil || denied[i].isCreated() || denied[i].count() > 0 {
			t.Errorf("%d: allowed one ended with %v, denied one saw %q", i, allowed[i].end(), denied[i].keys())
		}
	}
	s.Restart()
	for i := range 10 {
		eventually(t, "the end of the others", func() bool { return allowed[i].end() != nil })
		if n := len(denied[i].ended); n != 1 {
			t.Errorf("%d: told %d times that it ended", i, n)
		}
	}
}

// withAuth turns authentication on: the clients are of root, and of a user who may use the prefix.
func withAuth(t testing.TB, m *etcdtest.Member, prefix string) (root, user *clientv3.Client) {
	t.Helper()
	c, ctx := m.Client(t), t.Context()
	for _, f := range []func() error{
		func() error { _, err := c.UserAdd(ctx, "root", "root"); return err },
		func() error { _, err := c.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := c.UserAdd(ctx, "user", "user"); return err },
		func() error { _, err := c.RoleAdd(ctx, "role"); return err },
		func() error {
			_, err := c.RoleGrantPermission(ctx, "role", prefix, clientv3.GetPrefixRangeEnd(prefix), clientv3.PermissionType(clientv3.PermReadWrite))
			return err
		},
		func() error { _, err := c.UserGrantRole(ctx, "user", "role"); return err },
		func() error { _, err := c.AuthEnable(ctx); return err },
	} {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
	as := func(name string) *clientv3.Client {
		return m.Client(t, func(cfg *clientv3.Config) { cfg.Username, cfg.Password = name, name })
	}
	return as("root"), as("user")
}

func TestStreamWhoseTokenIsNotTakenAnyMoreIsReplaced(t *testing.T) {
	m := etcdtest.Start(t)
	root, user := withAuth(t, m, "a/")
	s, _ := run(t, user)
	var before, refused, after seen
	s.Watch("a/1", "", &before)
	eventually(t, "a watch", before.isCreated)
	if _, err := root.UserChangePassword(t.Context(), "user", "user"); err != nil { // takes the user's tokens away
		t.Fatal(err)
	}
	refused.onEnd = func() { s.Watch("a/2", "", &after) }
	s.Watch("a/2", "", &refused)
	eventually(t, "a refusal", func() bool { return refused.end() != nil })
	if err := refused.end(); !errors.Is(err, rpctypes.ErrInvalidAuthToken) {
		t.Fatalf("ended with %v", err)
	}
	eventually(t, "the end of what the stream carried", func() bool { return before.end() != nil })
	opens(t, s, "a/3")
}

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

func TestWatchCostsNoGoroutine(t *testing.T) {
	const n = 1000
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s, _ := run(t, client)
	h := make([]seen, n+1)
	s.Watch(name, "", &h[n])
	eventually(t, "the stream", h[n].isCreated)
	before := runtime.NumGoroutine()
	for i := range n {
		s.Watch(fmt.Sprintf("%s/%d", name, i), "", &h[i])
	}
	for i := range n {
		eventually(t, "all watches", h[i].isCreated)
	}
	if more := runtime.NumGoroutine() - before; more > 5 {
		t.Errorf("%d watches cost %d goroutines", n, more)
	}
	put(t, client, name+"/999")
	eventually(t, "an event", func() bool { return h[999].count() == 1 })
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
