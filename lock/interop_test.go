package lock_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"golang.org/x/sync/errgroup"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
)

// theirs is a mutex of etcd's own client, with a session of its own.
func theirs(t *testing.T, client *clientv3.Client, prefix string) *concurrency.Mutex {
	t.Helper()
	s, err := concurrency.NewSession(client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return concurrency.NewMutex(s, prefix)
}

func locking(t *testing.T, m *concurrency.Mutex) <-chan error {
	done := make(chan error, 1)
	go func() { done <- m.Lock(t.Context()) }()
	return done
}

func inLine(t *testing.T, client *clientv3.Client, prefix string, n int) {
	t.Helper()
	etcdtest.Eventually(t, 5*time.Second, "entries in the shared line", func() bool {
		return len(etcdtest.Keys(t, client, prefix+"/")) == n
	})
}

func still[T any](t *testing.T, waiting <-chan T, who string) {
	t.Helper()
	select {
	case <-waiting:
		t.Fatalf("%s got in while another held", who)
	default:
	}
}

func TestOursAndEtcdsMutexStandInOneLineInOrderOfArrival(t *testing.T) {
	client, prefix := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	ours := func() *lock.Mutex { return lock.New(open(t, client), "shared", lock.WithPrefix(prefix)) }

	t1 := theirs(t, client, prefix)
	if err := t1.Lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	o2 := acquiring(t, ours())
	inLine(t, client, prefix, 2)
	m3 := theirs(t, client, prefix)
	t3 := locking(t, m3)
	inLine(t, client, prefix, 3)
	o4 := acquiring(t, ours())
	inLine(t, client, prefix, 4)

	still(t, o2, "the second, ours")
	if err := t1.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	l := <-o2
	still(t, t3, "the third, theirs")
	still(t, o4, "the fourth, ours")
	release(t, l)
	if err := <-t3; err != nil {
		t.Fatal(err)
	}
	still(t, o4, "the fourth, ours")
	if err := m3.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	release(t, <-o4)
	inLine(t, client, prefix, 0)
}

func TestEtcdsTryLockSeesOurHoldAndOursSeesTheirs(t *testing.T) {
	client, prefix := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	mine, other := lock.New(open(t, client), "shared", lock.WithPrefix(prefix)), theirs(t, client, prefix)
	l, err := mine.TryAcquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := other.TryLock(t.Context()); !errors.Is(err, concurrency.ErrLocked) {
		t.Fatalf("TryLock while we hold: %v", err)
	}
	release(t, l)
	if err := other.TryLock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := mine.TryAcquire(t.Context()); !errors.Is(err, lock.ErrHeld) {
		t.Fatalf("TryAcquire while they hold: %v", err)
	}
	if err := other.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	release(t, acquire(t, mine))
}

// A fleet that moves over one process at a time: both kinds take turns under load, and never overlap.
func TestMixedFleetNeverOverlaps(t *testing.T) {
	server, prefix := etcdtest.Shared(t), etcdtest.Name(t)
	var counter atomic.Int64 // raised in two steps, so that an overlap loses an update
	raise := func() { counter.Store(counter.Load() + 1) }
	const each = 15
	var fleet errgroup.Group
	for i := range 2 {
		mine := lock.New(open(t, server.Client(t)), "shared", lock.WithPrefix(prefix))
		other := theirs(t, server.Client(t), prefix)
		fleet.Go(func() error {
			for range each {
				l, err := mine.Acquire(t.Context())
				if err != nil {
					return err
				}
				raise()
				if i == 0 {
					l.Key() // one exposes its entry, one does not
				}
				if err := l.Release(t.Context()); err != nil {
					return err
				}
			}
			return nil
		})
		fleet.Go(func() error {
			for range each {
				if err := other.Lock(t.Context()); err != nil {
					return err
				}
				raise()
				if err := other.Unlock(t.Context()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := fleet.Wait(); err != nil {
		t.Error(err)
	}
	if n := counter.Load(); n != 4*each {
		t.Errorf("lost updates: %d of %d", n, 4*each)
	}
}

// rpc calls etcd's own lock service through its JSON gateway.
func rpc(t *testing.T, endpoint, method string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint+"/v3/lock/"+method, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(string(text))
	}
	return json.Unmarshal(text, out)
}

func TestEtcdsLockServiceStandsInTheSameLine(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	server, prefix := etcdtest.Shared(t), etcdtest.Name(t)
	client := server.Client(t)
	mine := lock.New(open(t, client), "shared", lock.WithPrefix(prefix))
	grant, err := client.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		Key []byte `json:"key"`
	}
	var locked answer
	request := map[string]any{"name": []byte(prefix), "lease": int64(grant.ID)}

	l := acquire(t, mine)
	done := make(chan error, 1)
	go func() { done <- rpc(t, server.Endpoint(), "lock", request, &locked) }()
	inLine(t, client, prefix, 2)
	still(t, done, "etcd's lock service")
	release(t, l)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	got := acquiring(t, mine)
	inLine(t, client, prefix, 2)
	still(t, got, "ours")
	if err := rpc(t, server.Endpoint(), "unlock", map[string]any{"key": locked.Key}, &struct{}{}); err != nil {
		t.Fatal(err)
	}
	release(t, <-got)
}
