package semaphore_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/semaphore"
	"github.com/fenceline/fenceline/session"
)

// open is a session of its own process, as it were.
func open(t testing.TB, client *clientv3.Client, opts ...session.Option) *session.Session {
	t.Helper()
	s, err := session.Open(t.Context(), client, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func acquire(t testing.TB, m *semaphore.Semaphore, n int64) *semaphore.Permit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	p, err := m.Acquire(ctx, n)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// acquiring acquires in a goroutine, and waits until it stands in line.
func acquiring(t testing.TB, client *clientv3.Client, name string, m *semaphore.Semaphore, n int64) <-chan *semaphore.Permit {
	t.Helper()
	before := len(lineOf(t, client, name))
	got := make(chan *semaphore.Permit, 1)
	go func() {
		p, err := m.Acquire(t.Context(), n)
		if err != nil && t.Context().Err() == nil {
			t.Errorf("Acquire: %v", err)
		}
		got <- p
	}()
	queued(t, client, name, before+1)
	return got
}

func lineOf(t testing.TB, client *clientv3.Client, name string) []string {
	return etcdtest.Keys(t, client, "fenceline/semaphore/"+name+"/line/")
}

func queued(t testing.TB, client *clientv3.Client, name string, n int) {
	t.Helper()
	etcdtest.Eventually(t, 5*time.Second, "entries in line", func() bool { return len(lineOf(t, client, name)) == n })
}

func release(t testing.TB, p *semaphore.Permit) {
	t.Helper()
	if err := p.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func still(t testing.TB, who string, got <-chan *semaphore.Permit) {
	t.Helper()
	select {
	case <-got:
		t.Fatalf("%s got in over the limit, or over one before it", who)
	case <-time.After(50 * time.Millisecond):
	}
}

func within(t testing.TB, got <-chan *semaphore.Permit) *semaphore.Permit {
	t.Helper()
	select {
	case p := <-got:
		return p
	case <-time.After(2 * time.Second):
		t.Fatal("not in, though there is room")
		return nil
	}
}

func TestUnitsUpToTheLimitAreHeldAndLargeRequestsAreNotOvertaken(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client)
	here, there := semaphore.New(s, name, 5), semaphore.New(open(t, client), name, 5)
	a, b := acquire(t, here, 2), acquire(t, there, 2)
	large := acquiring(t, client, name, here, 4)
	small := acquiring(t, client, name, there, 1)
	still(t, "a small request", small)
	if st, err := here.Status(t.Context()); err != nil || st != (semaphore.Status{Limit: 5, Held: 4, Waiting: 5}) {
		t.Errorf("%+v, %v", st, err)
	}
	release(t, a)
	still(t, "the large request", large)
	release(t, b)
	c, d := within(t, large), within(t, small)
	if c.Units() != 4 || d.Units() != 1 {
		t.Errorf("%d and %d units", c.Units(), d.Units())
	}
	release(t, c)
	release(t, d)
	if err := d.Release(t.Context()); !errors.Is(err, session.ErrNotHeld) {
		t.Errorf("second release: %v", err)
	}
	queued(t, client, name, 0)
}

func TestUnitsOfADeadHolderComeBack(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client)
	p := acquire(t, semaphore.New(s, name, 3), 3)
	guard := p.Guard()
	got := acquiring(t, client, name, semaphore.New(open(t, client), name, 3), 2)
	if _, err := client.Revoke(t.Context(), s.Lease()); err != nil {
		t.Fatal(err)
	}
	q := within(t, got)
	<-p.Context().Done()
	if err := context.Cause(p.Context()); !errors.Is(err, session.ErrRevoked) {
		t.Errorf("%v", err)
	}
	if err := p.Release(t.Context()); !errors.Is(err, session.ErrLost) {
		t.Errorf("release: %v", err)
	}
	for want, g := range map[bool][]clientv3.Cmp{false: guard, true: q.Guard()} {
		if resp, err := client.Txn(t.Context()).If(g...).Commit(); err != nil || resp.Succeeded != want {
			t.Errorf("guard: %v, %v", resp.Succeeded, err)
		}
	}
	release(t, q)
}

func TestAnotherLimitIsAnErrorAtOnceAndZeroAcceptsTheStoredOne(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client)
	var wrong *semaphore.LimitError
	if _, err := semaphore.New(s, name, 0).Acquire(t.Context(), 1); !errors.As(err, &wrong) || !errors.Is(err, semaphore.ErrLimit) {
		t.Errorf("nothing is stored: %v", err)
	}
	p := acquire(t, semaphore.New(s, name, 3), 3)
	for verb, do := range map[string]func(context.Context, int64) (*semaphore.Permit, error){
		"Acquire": semaphore.New(s, name, 4).Acquire, "TryAcquire": semaphore.New(s, name, 4).TryAcquire,
	} {
		if _, err := do(t.Context(), 1); !errors.As(err, &wrong) || *wrong != (semaphore.LimitError{Name: name, Stored: 3, Want: 4}) {
			t.Errorf("%s: %v", verb, err)
		}
	}
	any := semaphore.New(open(t, client), name, 0)
	if _, err := any.Acquire(t.Context(), 4); !errors.Is(err, semaphore.ErrTooMany) {
		t.Errorf("more than is stored: %v", err)
	}
	queued(t, client, name, 1)
	got := acquiring(t, client, name, any, 3)
	release(t, p)
	release(t, within(t, got))
	queued(t, client, name, 0)
}

func TestBadNumbersAreErrorsBeforeAnyRequest(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := open(t, etcdtest.Shared(t).Client(t))
	cancel() // no request can succeed
	for _, c := range []struct {
		limit, n int64
		want     error
		text     string
	}{
		{-1, 1, semaphore.ErrLimit, "-1"}, {3, 0, semaphore.ErrTooMany, "0"}, {3, -2, semaphore.ErrTooMany, "-2"}, {3, 4, semaphore.ErrTooMany, "4, its limit is 3"},
	} {
		m := semaphore.New(s, "x", c.limit)
		for _, do := range []func(context.Context, int64) (*semaphore.Permit, error){m.Acquire, m.TryAcquire} {
			if _, err := do(ctx, c.n); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("limit %d, units %d: %v", c.limit, c.n, err)
			}
		}
	}
	if err := semaphore.New(s, "x", 3).Resize(ctx, 0); !errors.Is(err, semaphore.ErrLimit) {
		t.Errorf("Resize: %v", err)
	}
	if _, err := semaphore.New(s, "", 3).Acquire(ctx, 1); !errors.Is(err, session.ErrInvalidName) {
		t.Errorf("name: %v", err)
	}
}

func TestTryAcquireNeverWaitsNorWritesWhenItFails(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	m := semaphore.New(open(t, client), name, 3)
	a, err := m.TryAcquire(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.TryAcquire(t.Context(), 2); !errors.Is(err, semaphore.ErrExhausted) {
		t.Errorf("%v", err)
	}
	b, err := m.TryAcquire(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(lineOf(t, client, name)); n != 2 {
		t.Errorf("%d entries", n)
	}
	release(t, a)
	release(t, b)
	var got atomic.Int64
	var wg sync.WaitGroup
	for range 8 { // at once: exactly three fit
		other := semaphore.New(open(t, client), name, 3)
		wg.Go(func() {
			if p, err := other.TryAcquire(t.Context(), 1); err == nil {
				got.Add(p.Units())
			} else if !errors.Is(err, semaphore.ErrExhausted) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got.Load() != 3 {
		t.Errorf("%d units were got at once", got.Load())
	}
}

func TestResizeWorksWhileOthersWait(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	m := semaphore.New(open(t, client), name, 2)
	p := acquire(t, m, 2)
	first := acquiring(t, client, name, semaphore.New(open(t, client), name, 0), 1)
	second := acquiring(t, client, name, semaphore.New(open(t, client), name, 0), 2)
	if err := m.Resize(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	a := within(t, first) // growing lets it in at once
	still(t, "the second", second)
	any := semaphore.New(open(t, client), name, 0)
	if err := any.Resize(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if p.Context().Err() != nil || a.Context().Err() != nil {
		t.Error("shrinking has revoked a permit")
	}
	release(t, a)
	still(t, "the second", second)
	release(t, p)
	release(t, within(t, second))

	p = acquire(t, any, 1)
	failed := make(chan error, 1)
	go func() {
		_, err := any.Acquire(t.Context(), 2)
		failed <- err
	}()
	queued(t, client, name, 2)
	if err := any.Resize(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; !errors.Is(err, semaphore.ErrTooMany) { // else it would hold up all who come later
		t.Errorf("a request that does not fit any more: %v", err)
	}
	release(t, p)
	queued(t, client, name, 0)
}

func TestCancelledAcquireLeavesNoEntry(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	m := semaphore.New(open(t, client), name, 2)
	p := acquire(t, m, 2)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(10_000))*time.Microsecond)
			defer cancel()
			if _, err := m.Acquire(ctx, 1+rand.Int64N(2)); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	queued(t, client, name, 1)
	release(t, p)
	release(t, acquire(t, m, 2))
	queued(t, client, name, 0)
}
