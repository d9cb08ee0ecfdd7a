package lock_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// endsBehind has waits end with their ctx until one says behind whom: that is read only when one lasts.
func endsBehind(t testing.TB, acquire func(context.Context) error) *session.WaitError {
	t.Helper()
	for patience := time.Second; patience < time.Minute; patience *= 2 {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		err := acquire(ctx)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, session.ErrLost) || errors.Is(err, lock.ErrHeld) {
			t.Fatalf("the wait ended with %v", err)
		}
		var waited *session.WaitError
		if errors.As(err, &waited) {
			t.Log(err)
			if want := "context deadline exceeded: behind "; !strings.Contains(err.Error(), want) {
				t.Errorf("the wait ended with %q, want %q in it", err, want)
			}
			return waited
		}
	}
	t.Fatal("no wait said behind whom")
	return nil
}

func TestEndedWaitSaysBehindWhom(t *testing.T) {
	m := etcdtest.Shared(t)
	name := etcdtest.Name(t)
	a, b := named(t, m.Client(t), "a"), open(t, m.Client(t))
	write, err := lock.NewRW(a, name).AcquireWrite(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l, rw := acquire(t, lock.New(a, name)), lock.NewRW(b, name)
	for what, waits := range map[string]func(context.Context) error{
		"a mutex":  func(ctx context.Context) error { _, err := lock.New(b, name).Acquire(ctx); return err },
		"a reader": func(ctx context.Context) error { _, err := rw.AcquireRead(ctx); return err },
		"a writer": func(ctx context.Context) error { _, err := rw.AcquireWrite(ctx); return err },
		"a set": func(ctx context.Context) error {
			_, err := lock.AcquireAll(ctx, lock.New(b, name+"-b"), lock.New(b, name))
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			h := endsBehind(t, waits).Holder
			isUs(t, h, "a")
			if h.Here || h.Lease != a.Lease() {
				t.Errorf("named is %+v", h)
			}
		})
	}
	release(t, l)
	release(t, write)
}

func TestEndedWaitBehindAnotherGoroutineSaysSo(t *testing.T) {
	m := etcdtest.Shared(t)
	name := etcdtest.Name(t)
	s := open(t, m.Client(t))
	mutex, rw := lock.New(s, name), lock.NewRW(s, name)
	l := acquire(t, mutex)
	read, err := rw.AcquireRead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for what, waits := range map[string]func(context.Context) error{
		"a mutex":  func(ctx context.Context) error { _, err := mutex.Acquire(ctx); return err },
		"a writer": func(ctx context.Context) error { _, err := rw.AcquireWrite(ctx); return err },
	} {
		t.Run(what, func(t *testing.T) {
			if h := endsBehind(t, waits).Holder; !h.Here {
				t.Errorf("named is %+v", h)
			}
		})
	}
	release(t, l)
	release(t, read)
}

func TestShortWaitReadsNoRecord(t *testing.T) {
	m := etcdtest.Shared(t)
	name := etcdtest.Name(t)
	held := lock.New(open(t, m.Client(t)), name)
	s, kv := counting(t, m)
	mine := lock.New(s, name)
	for range 20 {
		l := acquire(t, held)
		began := time.Now()
		got := acquiring(t, mine)
		etcdtest.Eventually(t, 20*time.Second, "it queues", func() bool {
			return len(etcdtest.Keys(t, m.Client(t), "fenceline/lock/"+name+"/")) == 2
		})
		release(t, l)
		release(t, <-got)
		if time.Since(began) > 250*time.Millisecond { // a slow machine: that was no short wait
			kv.records.Store(0)
		}
	}
	if n := kv.records.Load(); n > 0 {
		t.Errorf("short waits read %d records", n)
	}
}
