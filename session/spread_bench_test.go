package session_test

import (
	"fmt"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// BenchmarkOneMore measures one more entry where there are many: a put and a delete on one lease that has so many keys, and
// an Acquire and Release in a session that holds so many locks; for root, whom etcd does not check, and for another user.
//
//	go test -run - -bench OneMore -benchtime 1000x ./session
func BenchmarkOneMore(b *testing.B) {
	m, _ := secured(b)
	for _, user := range []string{"root", "user"} {
		for _, n := range []int{0, 256, 512, 1_000, 10_000} {
			c := as(b, m, user)
			b.Run(fmt.Sprintf("keys/%s/%d", user, n), func(b *testing.B) {
				lease, err := c.Grant(b.Context(), 600)
				if err != nil {
					b.Fatal(err)
				}
				defer c.Revoke(b.Context(), lease.ID)
				root := as(b, m, "root")
				inParallel(b, n, func(i int) error {
					_, err := root.Put(b.Context(), fmt.Sprintf("allowed/key/%d", i), "", clientv3.WithLease(lease.ID))
					return err
				})
				for b.Loop() {
					if _, err := c.Put(b.Context(), "allowed/key/more", "", clientv3.WithLease(lease.ID)); err != nil {
						b.Fatal(err)
					}
					if _, err := c.Delete(b.Context(), "allowed/key/more"); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(fmt.Sprintf("locks/%s/%d", user, n), func(b *testing.B) {
				s, err := session.Open(b.Context(), c, session.WithNamespace("allowed/"))
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close(b.Context())
				inParallel(b, n, func(i int) error {
					_, err := lock.New(s, fmt.Sprint(i)).Acquire(b.Context())
					return err
				})
				l := lock.New(s, "more")
				for b.Loop() {
					h, err := l.Acquire(b.Context())
					if err == nil {
						h.Key() // so that it is given back
						err = h.Release(b.Context())
					}
					if err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				b.ReportMetric(float64(len(etcdtest.Leases(b, as(b, m, "root")))), "leases")
			})
		}
	}
}

func inParallel(b *testing.B, n int, f func(i int) error) {
	b.Helper()
	var all sync.WaitGroup
	for from := range 64 {
		all.Go(func() {
			for i := from; i < n; i += 64 {
				if err := f(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}
