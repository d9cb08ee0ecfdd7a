package lock_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fenceline/fenceline/fencetest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// The first attempt arrives when all is over: after a second one was granted, released, and kept for its minimum.
func TestEnqueueThatArrivesAfterAMinimumHoldChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		etcd := fencetest.Start(t)
		s := etcd.Session(t, session.WithTTL(10*time.Second))
		first := true
		etcd.Decide(func(q fencetest.Request) (f fencetest.Fate) {
			if q.Method == "Txn" && first {
				first, f.TooLate, f.Delay = false, true, 20*time.Second
			}
			return f
		})
		l, err := lock.New(s, "x", lock.WithMinHold(100*time.Millisecond)).Acquire(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Release(ctx); err != nil {
			t.Fatal(err)
		}
		time.Sleep(40 * time.Second)
		if first {
			t.Error("no request came late")
		}
		for _, kv := range etcd.Keys() {
			if strings.HasPrefix(string(kv.Key), "fenceline/lock/") {
				t.Errorf("%s is left", kv.Key)
			}
		}
	})
}
