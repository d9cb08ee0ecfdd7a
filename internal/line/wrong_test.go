package line

import (
	"context"
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/queue"
	"github.com/fenceline/fenceline/session"
)

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
			_, err := rwOf(r).Acquire(ctx, reading, &Options{}, false)
			return err
		},
		"take-over delay": func(ctx context.Context, r *Ref) error {
			_, err := r.Acquire(ctx, &Options{TakeoverDelay: time.Second}, false)
			return err
		},
		"set": func(ctx context.Context, r *Ref) error {
			_, err := AcquireAll(ctx, []Member{{r, &Options{TakeoverDelay: time.Second}}}, false)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := &Ref{Keeper: keeper.Of(s), Kind: "test", Name: etcdtest.Name(t), Policy: queue.Mutex}
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
