package lock_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// refused tries, and returns the refusal.
func refused(t testing.TB, try func(context.Context) (*lock.Lock, error), want error) *lock.HeldError {
	t.Helper()
	_, err := try(t.Context())
	var held *lock.HeldError
	if !errors.Is(err, want) || !errors.As(err, &held) {
		t.Fatalf("%v, want a HeldError for %v", err, want)
	}
	t.Log(err)
	return held
}

// isUs checks that this process is named, as the session that was opened with name.
func isUs(t testing.TB, h session.Holder, name string) {
	t.Helper()
	host, _ := os.Hostname()
	if h.Record.Name != name || h.Host != host || h.PID != os.Getpid() || h.Labels["rack"] != "7" || h.Started.IsZero() {
		t.Errorf("named is %+v, want %s on %s, pid %d", h.Record, name, host, os.Getpid())
	}
}

// named is a session that can be told from others by its record.
func named(t testing.TB, client *clientv3.Client, name string) *session.Session {
	return open(t, client, session.WithName(name), session.WithLabels(map[string]string{"rack": "7"}))
}

func TestRefusalNamesTheHolder(t *testing.T) {
	m := etcdtest.Shared(t)
	name := etcdtest.Name(t)
	a, b := named(t, m.Client(t), "report-server"), open(t, m.Client(t))
	l := acquire(t, lock.New(a, name))
	mine := lock.New(b, name)
	for range 2 { // the second time the record is known
		held := refused(t, mine.TryAcquire, lock.ErrHeld)
		isUs(t, held.Holder, "report-server")
		if h := held.Holder; held.Name != name || h.Key != l.Key() || h.Lease != a.Lease() || h.Standing != session.Holds || h.Here {
			t.Errorf("named is %+v", h)
		}
		host, _ := os.Hostname()
		if want := fmt.Sprintf("lock: acquire %q: held by report-server on host %s (pid %d), lease %x", name, host, os.Getpid(), a.Lease()); held.Error() != want {
			t.Errorf("the error is %q, want %q", held, want)
		}
	}
	release(t, l)
	other := acquire(t, lock.New(named(t, m.Client(t), "another"), name))
	isUs(t, refused(t, mine.TryAcquire, lock.ErrHeld).Holder, "another")
	release(t, other)
}

func TestRefusalOfAReadWriteLockNamesWhoIsInTheWay(t *testing.T) {
	m := etcdtest.Shared(t)
	name := etcdtest.Name(t)
	a, b, c := lock.NewRW(named(t, m.Client(t), "a"), name), lock.NewRW(named(t, m.Client(t), "b"), name), lock.NewRW(open(t, m.Client(t)), name)
	reader, err := a.AcquireRead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if h := refused(t, c.TryAcquireWrite, lock.ErrHeld).Holder; h.Record.Name != "a" || h.Standing != session.Holds {
		t.Errorf("in a writer's way is %+v, want the reader", h)
	}
	if h := refused(t, a.TryAcquireWrite, lock.ErrHeld).Holder; !h.Here {
		t.Errorf("in the way of a writer of the same session is %+v", h)
	}
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		l, err := b.AcquireWrite(ctx)
		if err == nil {
			err = l.Release(ctx)
		}
		done <- err
	}()
	etcdtest.Eventually(t, 20*time.Second, "the writer queues", func() bool {
		return len(etcdtest.Keys(t, m.Client(t), "fenceline/rwlock/"+name+"/")) == 2
	})
	if h := refused(t, c.TryAcquireRead, lock.ErrHeld).Holder; h.Record.Name != "b" || h.Standing != session.Waits {
		t.Errorf("in a reader's way is %+v, want the writer who waits", h)
	}
	release(t, reader)
	if err := <-done; err != nil {
		t.Error(err)
	}
	writer, err := a.AcquireWrite(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if h := refused(t, c.TryAcquireRead, lock.ErrHeld).Holder; h.Record.Name != "a" || h.Standing != session.Holds {
		t.Errorf("in a reader's way is %+v, want the writer", h)
	}
	if h := refused(t, a.TryAcquireRead, lock.ErrHeld).Holder; !h.Here {
		t.Errorf("in the way of a reader of the same session is %+v", h)
	}
	release(t, writer)
}

func TestRefusalOfALockHeldHereSaysSo(t *testing.T) {
	m := etcdtest.Shared(t)
	a := lock.New(named(t, m.Client(t), "a"), etcdtest.Name(t))
	l := acquire(t, a)
	held := refused(t, a.TryAcquire, lock.ErrHeld)
	isUs(t, held.Holder, "a")
	if h := held.Holder; !h.Here || h.Standing != session.Holds || !strings.Contains(held.Error(), "another goroutine of this process") {
		t.Errorf("%v: %+v", held, h)
	}
	release(t, l)
}

// A set has an entry of its own in etcd, also within one session.
func TestRefusalByASetOfThisSessionSaysSo(t *testing.T) {
	m := etcdtest.Shared(t)
	s, name := open(t, m.Client(t)), etcdtest.Name(t)
	a, b := lock.New(s, name), lock.New(s, name+"-b")
	set, err := lock.AcquireAll(t.Context(), a, b)
	if err != nil {
		t.Fatal(err)
	}
	if h := refused(t, a.TryAcquire, lock.ErrHeld).Holder; !h.Here {
		t.Errorf("named is %+v", h)
	}
	if err := set.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestRefusalByAStrangerNamesItsKeyAndLease(t *testing.T) {
	m := etcdtest.Shared(t)
	client, prefix := m.Client(t), "strangers/"+etcdtest.Name(t)
	mine := lock.New(open(t, m.Client(t)), "shared", lock.WithPrefix(prefix))
	s, err := concurrency.NewSession(client)
	if err != nil {
		t.Fatal(err)
	}
	theirs := concurrency.NewMutex(s, prefix)
	if err := theirs.Lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	held := refused(t, mine.TryAcquire, lock.ErrHeld)
	if h := held.Holder; h.Record.Name != "" || h.Key != theirs.Key() || h.Lease != s.Lease() || !strings.Contains(held.Error(), theirs.Key()) ||
		!strings.Contains(held.Error(), fmt.Sprintf("lease %x", s.Lease())) {
		t.Errorf("%v: %+v", held, h)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	etcdtest.Eventually(t, 10*time.Second, "theirs has gone", func() bool { return len(etcdtest.Keys(t, client, prefix+"/")) == 0 })
	if _, err := client.Put(t.Context(), prefix+"/forgotten", ""); err != nil {
		t.Fatal(err)
	}
	held = refused(t, mine.TryAcquire, lock.ErrHeld)
	if h := held.Holder; h.Key != prefix+"/forgotten" || h.Lease != clientv3.NoLease || !strings.Contains(held.Error(), "no lease") {
		t.Errorf("%v: %+v", held, h)
	}
}

// A record that was copied from elsewhere hangs on another lease than its key says.
func TestRecordOfAnotherLeaseIsNotBelieved(t *testing.T) {
	m := etcdtest.Shared(t)
	client, name := m.Client(t), etcdtest.Name(t)
	lease, err := client.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]string{
		fmt.Sprintf("fenceline/session/%x", lease.ID):       `{"name":"liar","host":"h","pid":1}`,
		fmt.Sprintf("fenceline/lock/%s/%x", name, lease.ID): "",
	} {
		opts := []clientv3.OpOption{clientv3.WithLease(lease.ID)}
		if value != "" {
			opts = nil
		}
		if _, err := client.Put(t.Context(), key, value, opts...); err != nil {
			t.Fatal(err)
		}
		defer client.Delete(context.Background(), key)
	}
	held := refused(t, lock.New(open(t, m.Client(t)), name).TryAcquire, lock.ErrHeld)
	if h := held.Holder; h.Record.Name != "" || h.Lease != lease.ID {
		t.Errorf("named is %+v", h)
	}
}

func TestRefusalByASetThatWaitsSaysForWhat(t *testing.T) {
	m := etcdtest.Shared(t)
	name := etcdtest.Name(t)
	holds, waits, tries := open(t, m.Client(t)), named(t, m.Client(t), "mover"), open(t, m.Client(t))
	b := acquire(t, lock.New(holds, name+"/b"))
	done := make(chan error, 1)
	go func() {
		set, err := lock.AcquireAll(t.Context(), lock.New(waits, name+"/a"), lock.New(waits, name+"/b"))
		done <- err
		if err == nil {
			set.Release(context.Background())
		}
	}()
	etcdtest.Eventually(t, 20*time.Second, "the set queues", func() bool {
		return len(etcdtest.Keys(t, m.Client(t), "fenceline/lock/"+name+"%2Fa/")) == 1
	})
	held := refused(t, lock.New(tries, name+"/a").TryAcquire, lock.ErrHeld)
	isUs(t, held.Holder, "mover")
	if h := held.Holder; h.Standing != session.Waits || h.WaitsFor != name+"/b" || !strings.Contains(held.Error(), "waits for "+fmt.Sprintf("%q", name+"/b")) {
		t.Errorf("%v: %+v", held, h)
	}
	release(t, b)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestRefusalByASetThatHoldsSaysSo(t *testing.T) {
	m := etcdtest.Shared(t)
	name := etcdtest.Name(t)
	mover, b := named(t, m.Client(t), "mover"), lock.New(open(t, m.Client(t)), name)
	set, err := lock.AcquireAll(t.Context(), lock.New(mover, name), lock.New(mover, name+"-b"))
	if err != nil {
		t.Fatal(err)
	}
	if h := refused(t, b.TryAcquire, lock.ErrHeld).Holder; h.Record.Name != "mover" || h.Standing != session.Holds || h.WaitsFor != "" {
		t.Errorf("named is %+v", h)
	}
	if err := set.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestRefusalByAMinimumHoldSaysSo(t *testing.T) {
	m := etcdtest.Shared(t)
	name := etcdtest.Name(t)
	a, b := named(t, m.Client(t), "ticker"), lock.New(open(t, m.Client(t)), name)
	release(t, acquire(t, lock.New(a, name, lock.WithMinHold(time.Minute))))
	held := refused(t, b.TryAcquire, lock.ErrHeld)
	isUs(t, held.Holder, "ticker")
	if h := held.Holder; h.Standing != session.Kept || h.Lease == a.Lease() || !strings.Contains(held.Error(), "minimum hold of ticker") {
		t.Errorf("%v: %+v", held, h)
	}
}

func TestFullQueueNamesTheHolder(t *testing.T) {
	m := etcdtest.Shared(t)
	name := etcdtest.Name(t)
	a, b, c := named(t, m.Client(t), "a"), open(t, m.Client(t)), open(t, m.Client(t))
	l := acquire(t, lock.New(a, name))
	waiting := acquiring(t, lock.New(b, name))
	etcdtest.Eventually(t, 20*time.Second, "one waits", func() bool {
		return len(etcdtest.Keys(t, m.Client(t), "fenceline/lock/"+name+"/")) == 2
	})
	one := lock.New(c, name, lock.WithMaxWaiters(1))
	held := refused(t, one.Acquire, lock.ErrQueueFull)
	isUs(t, held.Holder, "a")
	if errors.Is(held, lock.ErrHeld) {
		t.Error("it is ErrHeld as well")
	}
	_, err := lock.AcquireAll(t.Context(), one, lock.New(c, name+"-b"))
	if !errors.Is(err, lock.ErrQueueFull) || !errors.As(err, &held) || held.Name != name || held.Holder.Record.Name != "a" {
		t.Errorf("of a set: %v", err)
	}
	release(t, l)
	release(t, <-waiting)
}

// reads is a KV that counts what is read of sessions' records, and fails it, if it is to.
type reads struct {
	clientv3.KV
	records atomic.Int64
	fail    atomic.Bool
}

func (r *reads) Do(ctx context.Context, op clientv3.Op) (clientv3.OpResponse, error) {
	if op.IsGet() && strings.HasPrefix(string(op.KeyBytes()), "fenceline/session/") {
		r.records.Add(1)
	}
	if r.fail.Load() && op.IsGet() {
		<-ctx.Done()
		return clientv3.OpResponse{}, ctx.Err()
	}
	return r.KV.Do(ctx, op)
}

func counting(t testing.TB, m *etcdtest.Member) (*session.Session, *reads) {
	client := m.Client(t)
	r := &reads{KV: client.KV}
	client.KV = r
	return open(t, client), r
}

func TestRefusalStandsWhenItCannotBeFoundOutByWhom(t *testing.T) {
	m := etcdtest.Shared(t)
	name := etcdtest.Name(t)
	l := acquire(t, lock.New(open(t, m.Client(t)), name))
	s, kv := counting(t, m)
	kv.fail.Store(true)
	began := time.Now()
	held := refused(t, lock.New(s, name).TryAcquire, lock.ErrHeld)
	if h := held.Holder; h.Record.Name != "" {
		t.Errorf("named is %+v", h)
	}
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("it took %v", d)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := lock.New(s, name).TryAcquire(ctx); !errors.Is(err, lock.ErrHeld) && !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	kv.fail.Store(false)
	release(t, l)
}

func TestRefusalsReadARecordOnce(t *testing.T) {
	m := etcdtest.Shared(t)
	name := etcdtest.Name(t)
	l := acquire(t, lock.New(open(t, m.Client(t)), name))
	s, kv := counting(t, m)
	for range 10 {
		refused(t, lock.New(s, name).TryAcquire, lock.ErrHeld)
	}
	if n := kv.records.Load(); n != 1 {
		t.Errorf("ten refusals read %d records", n)
	}
	release(t, l)
}

// stale is a KV behind a proxy that remembers answers: of serializable reads, for ever.
type stale struct {
	clientv3.KV
	first map[string]clientv3.OpResponse
}

func (s *stale) Do(ctx context.Context, op clientv3.Op) (clientv3.OpResponse, error) {
	key := string(op.KeyBytes())
	if resp, ok := s.first[key]; ok && op.IsSerializable() {
		return resp, nil
	}
	resp, err := s.KV.Do(ctx, op)
	if _, ok := s.first[key]; !ok && err == nil {
		s.first[key] = resp
	}
	return resp, err
}

// In a line of more than a few, who is first is read.
func TestRefusalNamesNobodyWhoHasLongGone(t *testing.T) {
	m := etcdtest.Shared(t)
	name := etcdtest.Name(t)
	client := m.Client(t)
	client.KV = &stale{client.KV, map[string]clientv3.OpResponse{}}
	mine := lock.New(open(t, client), name)
	for _, who := range []string{"first", "second"} {
		l := acquire(t, lock.New(open(t, m.Client(t), session.WithName(who)), name))
		for i := range 8 {
			key := fmt.Sprintf("fenceline/lock/%s/behind%d", name, i)
			if _, err := m.Client(t).Put(t.Context(), key, ""); err != nil {
				t.Fatal(err)
			}
		}
		if h := refused(t, mine.TryAcquire, lock.ErrHeld).Holder; h.Record.Name != who {
			t.Errorf("named is %+v, want the %s", h, who)
		}
		if _, err := m.Client(t).Delete(t.Context(), "fenceline/lock/"+name+"/behind", clientv3.WithPrefix()); err != nil {
			t.Fatal(err)
		}
		release(t, l)
	}
}
