package lock_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// deafness swallows what the watch streams of a client receive, while it is on; all else gets through.
type deafness struct{ on atomic.Bool }

func (d *deafness) configure(cfg *clientv3.Config) {
	cfg.DialOptions = append(cfg.DialOptions, grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		s, err := open(ctx, desc, cc, method, opts...)
		if err == nil && strings.HasSuffix(method, "/Watch") {
			s = deafStream{s, d}
		}
		return s, err
	}))
}

type deafStream struct {
	grpc.ClientStream
	d *deafness
}

func (s deafStream) RecvMsg(m any) error {
	for {
		if err := s.ClientStream.RecvMsg(m); err != nil || !s.d.on.Load() {
			return err
		}
	}
}

// silences are ways in which a client stops hearing of others, while its requests still reach etcd, at least every
// other one.
func silences(t *testing.T, f func(t *testing.T, client *clientv3.Client, silence func(), other *clientv3.Client)) {
	m := etcdtest.Shared(t)
	t.Run("its watches are deaf", func(t *testing.T) {
		t.Parallel()
		var d deafness
		f(t, m.Client(t, d.configure), func() { d.on.Store(true) }, m.Client(t))
	})
	for i, which := range []string{"its first", "its second"} {
		t.Run(which+" connection of two swallows all", func(t *testing.T) {
			t.Parallel()
			pipes := []*etcdtest.Proxy{etcdtest.NewProxy(t, m), etcdtest.NewProxy(t, m)}
			client := pipes[0].Client(t, func(cfg *clientv3.Config) { cfg.Endpoints = append(cfg.Endpoints, pipes[1].Endpoint()) })
			f(t, client, pipes[i].Blackhole, m.Client(t))
		})
	}
}

// within bounds a call before which some requests may fail, each after some seconds.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// busy has n goroutines of s take turns, each for 5 ms, until stop is called. It counts the turns.
func busy(t *testing.T, n int, acquire func(context.Context) (*lock.Lock, error)) (turns *atomic.Int64, stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	turns = &atomic.Int64{}
	for range n {
		wg.Go(func() {
			for ctx.Err() == nil {
				l, err := acquire(ctx)
				if err != nil {
					continue
				}
				time.Sleep(5 * time.Millisecond) // the work
				turns.Add(1)
				_ = l.Release(ctx)
			}
		})
	}
	return turns, func() {
		cancel()
		wg.Wait()
	}
}

func TestAnotherProcessGetsItsTurnThoughASessionHearsNothing(t *testing.T) {
	t.Parallel()
	silences(t, func(t *testing.T, client *clientv3.Client, silence func(), other *clientv3.Client) {
		name := etcdtest.Name(t)
		m := lock.New(open(t, client), name)
		turns, stop := busy(t, 4, m.Acquire)
		defer stop()
		etcdtest.Eventually(t, 10*time.Second, "turns", func() bool { return turns.Load() > 100 })
		silence()
		before := turns.Load()
		l, err := lock.New(open(t, other), name).Acquire(within(t))
		if err != nil {
			t.Fatalf("%v, after %d turns of the other process", err, turns.Load()-before)
		}
		// Two seconds of trust are 400 turns at the most, then the hand-offs count.
		if n := turns.Load() - before; n > 600 { // as many as in three seconds
			t.Errorf("%d turns of the other process first", n)
		}
		release(t, l)
	})
}

func TestWriterGetsItsTurnThoughTheReadersHearNothing(t *testing.T) {
	t.Parallel()
	silences(t, func(t *testing.T, client *clientv3.Client, silence func(), other *clientv3.Client) {
		name := etcdtest.Name(t)
		m := lock.NewRW(open(t, client), name)
		turns, stop := busy(t, 3, m.AcquireRead)
		defer stop()
		etcdtest.Eventually(t, 10*time.Second, "turns", func() bool { return turns.Load() > 100 })
		silence()
		before := turns.Load()
		l, err := lock.NewRW(open(t, other), name).AcquireWrite(within(t))
		if err != nil {
			t.Fatalf("%v, after %d turns of the readers", err, turns.Load()-before)
		}
		if n := turns.Load() - before; n > 3*600 {
			t.Errorf("%d turns of the readers first", n)
		}
		release(t, l)
	})
}

func TestSecondReaderJoinsThoughTheSessionHearsNothing(t *testing.T) {
	t.Parallel()
	silences(t, func(t *testing.T, client *clientv3.Client, silence func(), _ *clientv3.Client) {
		m := lock.NewRW(open(t, client), etcdtest.Name(t))
		first, err := m.AcquireRead(within(t))
		if err != nil {
			t.Fatal(err)
		}
		silence()
		for range 2 {
			second, err := m.AcquireRead(within(t))
			if err != nil {
				t.Fatal(err)
			}
			release(t, second)
		}
		third, err := m.TryAcquireRead(within(t))
		if err != nil {
			t.Fatal(err)
		}
		release(t, third)
		release(t, first)
	})
}

func TestLingeringLockIsGivenUpThoughTheSessionHearsNothing(t *testing.T) {
	t.Parallel()
	silences(t, func(t *testing.T, client *clientv3.Client, silence func(), other *clientv3.Client) {
		name := etcdtest.Name(t)
		m := lock.New(open(t, client), name, lock.WithLinger(5*time.Minute))
		release(t, acquire(t, m))
		theirs := lock.New(open(t, other), name)
		queued(t, other, name, 1)
		silence()
		l, err := theirs.Acquire(within(t))
		if err != nil {
			t.Fatal(err)
		}
		release(t, l)
	})
}

func TestWaiterIsGrantedThoughItsSessionHearsNothing(t *testing.T) {
	t.Parallel()
	silences(t, func(t *testing.T, client *clientv3.Client, silence func(), other *clientv3.Client) {
		name := etcdtest.Name(t)
		theirs := acquire(t, lock.New(open(t, other), name))
		m := lock.New(open(t, client, session.WithTTL(6*time.Second)), name)
		got := acquiring(t, m)
		queued(t, other, name, 2)
		silence()
		release(t, theirs)
		select {
		case l := <-got:
			release(t, l)
		case <-within(t).Done():
			t.Fatal("not granted")
		}
	})
}
