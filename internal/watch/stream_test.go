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
