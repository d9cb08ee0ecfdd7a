package inspect_test

import (
	"fmt"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// Read of so many entries, with a note each, of a hundred sessions: half of the lines have one who waits.
func BenchmarkRead(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := etcdtest.Start(b)
			client := m.Client(b)
			var ops []clientv3.Op
			put := func(key, value string) {
				ops = append(ops, clientv3.OpPut(key, value))
				if len(ops) == 100 {
					if _, err := client.Txn(b.Context()).Then(ops...).Commit(); err != nil {
						b.Fatal(err)
					}
					ops = nil
				}
			}
			for i := range 100 {
				put(fmt.Sprintf("fenceline/session/%x", i+1), `{"name":"worker","host":"a-host","pid":7,"started":"2026-01-02T03:04:05Z"}`)
			}
			for i := range n {
				key := fmt.Sprintf("fenceline/lock/lock-%d/%x", i*2/3, i%100+1)
				put(key, "")
				put(keyspace.Since("fenceline/", key), fmt.Sprintf(`{"revision":%d,"owner":"~0011223344556677","waits":"2026-01-02T03:04:05.123Z"}`, i+2))
			}
			for b.Loop() {
				s, err := inspect.Read(b.Context(), client)
				if err != nil {
					b.Fatal(err)
				}
				entries := 0
				for _, l := range s.Lines {
					entries += len(l.Entries)
				}
				if entries != n {
					b.Fatalf("%d entries", entries)
				}
				s.Deadlocks()
			}
		})
	}
}
