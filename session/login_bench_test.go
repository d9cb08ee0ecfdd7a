package session_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"google.golang.org/grpc"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

// BenchmarkIdleWithPassword has thirty sessions of a user with a password do nothing for twenty seconds, each on a client
// of its own, as thirty processes would, beside as many of etcd's.
//
//	go test -run - -bench IdleWithPassword -benchtime 1x ./session
func BenchmarkIdleWithPassword(b *testing.B) {
	const sessions, ttl, idle = 30, 5, 20 * time.Second
	for name, open := range map[string]func(c *clientv3.Client, lost *atomic.Int64) (func(), error){
		"fenceline": func(c *clientv3.Client, lost *atomic.Int64) (func(), error) {
			s, err := session.Open(context.Background(), c, session.WithTTL(ttl*time.Second), session.WithTrace(&session.Trace{
				StateChanged: func(_, to session.State, _ error) {
					if to == session.Down {
						lost.Add(1)
					}
				}}))
			return func() { _ = s.Close(context.Background()) }, err
		},
		"etcd": func(c *clientv3.Client, lost *atomic.Int64) (func(), error) {
			s, err := concurrency.NewSession(c, concurrency.WithTTL(ttl))
			if err != nil {
				return nil, err
			}
			closing := make(chan struct{})
			go func() {
				select {
				case <-s.Done():
					lost.Add(1)
				case <-closing:
				}
			}()
			return func() { close(closing); _ = s.Close() }, nil
		},
	} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				var logins, lost atomic.Int64
				m := etcdtest.Start(b)
				root := m.Client(b)
				for _, f := range []func() error{
					func() error { _, err := root.UserAdd(b.Context(), "root", "root"); return err },
					func() error { _, err := root.UserGrantRole(b.Context(), "root", "root"); return err },
					func() error { _, err := root.AuthEnable(b.Context()); return err },
				} {
					if err := f(); err != nil {
						b.Fatal(err)
					}
				}
				var ends []func()
				for range sessions {
					c := m.Client(b, func(cfg *clientv3.Config) {
						cfg.Username, cfg.Password, cfg.DialTimeout = "root", "root", 20*time.Second
						cfg.DialOptions = append(cfg.DialOptions, grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
							if strings.HasSuffix(method, "/Authenticate") {
								logins.Add(1)
							}
							return invoke(ctx, method, req, reply, cc, opts...)
						}))
					})
					end, err := open(c, &lost)
					if err != nil {
						b.Fatal(err)
					}
					ends = append(ends, end)
				}
				before := logins.Load()
				time.Sleep(idle)
				b.ReportMetric(float64(logins.Load()-before)/sessions, "logins/session")
				b.ReportMetric(float64(lost.Load()), "leases-lost")
				for _, end := range ends {
					end()
				}
			}
		})
	}
}
