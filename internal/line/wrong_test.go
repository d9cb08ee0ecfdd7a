package line

import (
	"context"
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/session"
)

// A proxy or a bug may show somebody else's events. Whoever believes that its entry has gone takes it along.
func TestEntryThatAWatchDoesNotShowIsDeletedBeforeItIsForgotten(t *testing.T) {
	m := etcdtest.Shared(t)
	client, name := m.Client(t), etcdtest.Name(t)
	holder := ref(t, m, name)
	h := mustAcquire(t, holder, &Options{})
	r := ref(t, m, name)
	got := r.start(t, 1, &Options{})
	entries := func(n int) func() bool {
		return func() bool { return len(etcdtest.Keys(t, client, r.Prefix)) == n }
	}
	etcdtest.Eventually(t, 5*time.Second, "a waiter", entries(2))
	var old string
	r.look(func(l *Line) bool {
		old = l.place.entry.Key
		l.vanished(l.place) // says the watch
		l.proceed()
		return true
	})
	etcdtest.Eventually(t, 5*time.Second, "another entry in place of that one", func() bool {
		return r.look(func(l *Line) bool { return l.place != nil && l.place.state == queued && !l.place.leaving })
	})
	if keys := etcdtest.Keys(t, client, r.Prefix); len(keys) != 2 {
		t.Errorf("in line: %q, of which %q was given up", keys, old)
	}
	mustRelease(t, h)
	h = <-got
	r.look(func(l *Line) bool { l.vanished(l.place); return true })
	<-h.Context().Done()
	if cause := context.Cause(h.Context()); !errors.Is(cause, keeper.ErrEntryGone) {
		t.Errorf("the holder was told %v", cause)
	}
	etcdtest.Eventually(t, 5*time.Second, "nothing left", entries(0))
	mustRelease(t, mustAcquire(t, r, &Options{}))
}

// gRPC refuses to take an answer that is too large with the code by which etcd refuses to write. But the answer comes
// after the deed.
func TestAnswerThatIsTooLargeLeavesNoEntry(t *testing.T) {
	m := etcdtest.Shared(t)
	client := m.Client(t)
	small := m.Client(t, func(cfg *clientv3.Config) { cfg.MaxCallRecvMsgSize = 8 << 10 })
	s, err := session.Open(t.Context(), small)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	for name, acquire := range map[string]func(ctx context.Context, r *Ref) error{
		"reader": func(ctx context.Context, r *Ref) error {
			_, err := rwOf(r).Acquire(ctx, Read, &Options{}, false)
			return err
		},
		"take-over delay": func(ctx context.Context, r *Ref) error {
			_, err := r.Acquire(ctx, &Options{TakeoverDelay: time.Second}, false)
			return err
		},
		"set": func(ctx context.Context, r *Ref) error {
			_, err := AcquireAll(ctx, []Member{{r, &Options{TakeoverDelay: time.Second}}})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := &Ref{Keeper: s.Keeper(), Kind: "test", Name: etcdtest.Name(t), Rule: Nobody}
			r.Prefix = r.Name + "/"
			strangers(t, client, r.Prefix, 200)
			for range 3 {
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				if err := acquire(ctx, r); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v", err)
				}
				cancel()
			}
			etcdtest.Eventually(t, 10*time.Second, "only the others", func() bool { return len(etcdtest.Keys(t, client, r.Prefix)) == 200 })
		})
	}
}
