package lock_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

func TestTraceTellsWhatHappensToALockInOrder(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	var mu sync.Mutex
	var told []string
	tell := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, fmt.Sprintf(format, args...))
	}
	s := open(t, client, session.WithTrace(&session.Trace{
		Queued:   func(kind, name string, ahead int) { tell("queued %s %s behind %d", kind, name, ahead) },
		Granted:  func(kind, name string, waited time.Duration) { tell("granted %s %s %v", kind, name, waited > 0) },
		Released: func(kind, name string, held time.Duration) { tell("released %s %s %v", kind, name, held > 0) },
		Lost: func(kind, name string, cause error) {
			tell("lost %s %s %v", kind, name, errors.Is(cause, session.ErrRevoked))
		},
	}))
	m := lock.New(s, name)

	other := acquire(t, lock.New(open(t, client), name))
	got := acquiring(t, m)
	queued(t, client, name, 2)
	release(t, other)
	release(t, <-got)
	l := acquire(t, m)
	revoke(t, client, s)
	<-l.Context().Done()
	want := fmt.Sprintf("[queued lock %[1]s behind 1 granted lock %[1]s true released lock %[1]s true granted lock %[1]s true lost lock %[1]s true]", name)
	etcdtest.Eventually(t, 10*time.Second, want, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return fmt.Sprint(told) == want
	})
}
