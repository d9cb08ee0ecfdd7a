package cron

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

// BenchmarkHerd has all jobs be due at the same moment, in all processes: a session with a client of its own for each.
//
//	go test -run - -bench Herd -benchtime 1x -timeout 30m ./cron
func BenchmarkHerd(b *testing.B) {
	for _, c := range []struct{ jobs, processes, every int }{{1, 3, 2}, {100, 3, 2}, {100, 10, 5}, {1_000, 3, 20}, {1_000, 10, 20}} {
		b.Run(fmt.Sprintf("%dx%d", c.jobs, c.processes), func(b *testing.B) {
			for range b.N {
				herd(b, c.jobs, c.processes, c.every, max(2, 20/c.every))
			}
		})
	}
}

func herd(b *testing.B, jobs, processes, every, ticks int) {
	m := etcdtest.Start(b)
	var sent, refused, lost atomic.Int64
	var mu sync.Mutex
	var late []time.Duration
	ran, by := map[string]int{}, make([]int, processes)
	count := func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		err := invoke(ctx, method, req, reply, cc, opts...)
		if resp, ok := reply.(*pb.TxnResponse); ok {
			sent.Add(1)
			if err == nil && !resp.Succeeded {
				refused.Add(1)
			}
		}
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	var schedulers []*Scheduler
	for p := range processes {
		client := m.Client(b, func(cfg *clientv3.Config) {
			cfg.DialOptions = append(cfg.DialOptions, grpc.WithChainUnaryInterceptor(count))
		})
		s := New(openSession(b, client, session.WithTrace(&session.Trace{StateChanged: func(_, to session.State, _ error) {
			if to == session.Down {
				lost.Add(1)
			}
		}})))
		for j := range jobs {
			add(b, s, fmt.Sprintf("job%04d", j), fmt.Sprintf("@every %ds", every), func(_ context.Context, t Tick) error {
				mu.Lock()
				defer mu.Unlock()
				ran[t.Job+t.Scheduled.String()]++
				by[p]++
				late = append(late, time.Since(t.Scheduled))
				return nil
			})
		}
		schedulers = append(schedulers, s)
		all.Go(func() { _ = s.Run(ctx) })
	}
	for _, s := range schedulers {
		following(b, s)
	}
	period := time.Duration(every) * time.Second
	first := time.Now().Truncate(period).Add(period)
	time.Sleep(time.Until(first.Add(period - min(period/4, 500*time.Millisecond)))) // the first makes the records
	mu.Lock()
	clear(ran)
	clear(by)
	late = nil
	mu.Unlock()
	sent.Store(0)
	refused.Store(0)
	lost.Store(0)
	time.Sleep(time.Until(first.Add(time.Duration(ticks+1)*period - min(period/4, 500*time.Millisecond))))
	mu.Lock()
	n := float64(jobs * ticks)
	slices.Sort(late)
	b.ReportMetric(float64(sent.Load())/n, "txn/tick")
	b.ReportMetric(float64(refused.Load())/n, "refused/tick")
	b.ReportMetric(n-float64(len(ran)), "not-run")
	b.ReportMetric(float64(len(late)-len(ran)), "twice")
	b.ReportMetric(float64(lost.Load()), "leases-lost")
	if len(late) > 0 {
		b.ReportMetric(float64(late[len(late)/2].Milliseconds()), "p50-ms")
		b.ReportMetric(float64(late[len(late)-1].Milliseconds()), "max-ms")
	}
	b.ReportMetric(float64(slices.Min(by)), "least-of-one")
	b.ReportMetric(float64(slices.Max(by)), "most-of-one")
	mu.Unlock()
	stop()
	all.Wait()
}
