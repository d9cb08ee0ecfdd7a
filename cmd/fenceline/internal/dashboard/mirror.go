package dashboard

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/inspect"
)

// mirror is the last look at etcd, and what the looks before it had seen that is gone. All browsers are served from it: etcd is asked as often
// for a hundred of them as for one, and rarely when there is none.
type mirror struct {
	client    *clientv3.Client
	opts      []inspect.ReadOption
	namespace inspect.Option
	every     time.Duration // while somebody looks

	wake chan struct{} // somebody looks who waits for a look

	mu       sync.Mutex
	asked    time.Time // when somebody looked last
	changed  chan struct{}
	look     look
	memory   memory
	watching int // streams that are open
}

// look is what was seen at one moment. It is never changed.
type look struct {
	*inspect.Snapshot
	at        time.Time
	failed    error                              // why there is none later
	left      map[clientv3.LeaseID]time.Duration // of leases, at leftAt
	leftAt    time.Time
	suspects  map[string]time.Duration // of sessions by lease, whose time runs down further than that of others
	deadlocks []inspect.Deadlock
	lost      []lost
	ownerless map[string]time.Time // lines where somebody waits and nobody holds, since when
	leaders   map[string]bool      // of the elections that were ever seen
	most      map[string]int       // instances of a service that were up within an hour
	changed   string               // what it shows, in short: another text is worth a push
}

const (
	seldom     = 10 * time.Second // looks while nobody looks at them
	viewedFor  = 15 * time.Second // after a page was asked for
	leasesEach = 3 * time.Second
	judgeEach  = 2 * time.Second
	mostLeases = 500 // are asked about
	mostLost   = 1000
	lostFor    = time.Hour
)

func newMirror(client *clientv3.Client, every time.Duration, namespace string, opts ...inspect.ReadOption) *mirror {
	of := inspect.WithNamespace(namespace)
	return &mirror{client: client, every: every, namespace: of, opts: append(opts, of), wake: make(chan struct{}, 1), changed: make(chan struct{}),
		memory: memory{ownerless: map[string]time.Time{}, leaders: map[string]bool{}, up: map[string][]upAt{}, longest: map[clientv3.LeaseID]time.Duration{}}}
}

// now is the last look, for somebody who looks at it: one that is older than two would lie apart is made again first.
func (m *mirror) now(ctx context.Context) look { return m.atMost(ctx, 2*m.every) }

// fresh is a look that was made since, for somebody who acts upon it.
func (m *mirror) fresh(ctx context.Context) look { return m.atMost(ctx, 0) }

func (m *mirror) atMost(ctx context.Context, old time.Duration) look {
	m.mu.Lock()
	stale := time.Since(m.look.at) >= old && m.look.failed == nil
	m.asked = time.Now()
	changed := m.changed
	m.mu.Unlock()
	if stale {
		select {
		case m.wake <- struct{}{}:
		default:
		}
		wait, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		select {
		case <-changed:
		case <-wait.Done():
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.look
}

// next is closed when there is another look than this one.
func (m *mirror) next() (look, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.look, m.changed
}

// watched says that so many more streams are open.
func (m *mirror) watched(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watching += n
}

// run looks until ctx ends. An error of the first look is returned.
func (m *mirror) run(ctx context.Context, started func()) error {
	for first := true; ; {
		s, err := inspect.Read(ctx, m.client, m.opts...)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && first {
			return err
		}
		m.see(ctx, s, err)
		if first {
			started()
			first = false
		}
		m.mu.Lock()
		pause := seldom
		if m.watching > 0 || time.Since(m.asked) < viewedFor {
			pause = m.every
		}
		m.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		case <-m.wake:
		}
	}
}

// see takes a look, or why there is none.
func (m *mirror) see(ctx context.Context, s *inspect.Snapshot, err error) {
	m.mu.Lock()
	l, mem := m.look, &m.memory
	m.mu.Unlock()
	now := time.Now()
	if err != nil {
		l.failed = err
	} else {
		l.Snapshot, l.at, l.failed = s, now, nil
		if now.Sub(l.leftAt) >= leasesEach {
			m.askLeases(ctx, &l)
		}
		mem.take(&l, now, func(kind, name, key string) bool { return m.closed(ctx, kind, name, key) })
	}
	l.changed = l.digest()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.look = l
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *mirror) askLeases(ctx context.Context, l *look) {
	if some := l.Where(func(_ *inspect.Line, e *inspect.Entry) bool { return e.State != inspect.Waits }); countLeases(some) <= mostLeases {
		if left, err := inspect.LeasesLeft(ctx, m.client, some); err == nil {
			l.left, l.leftAt = left, time.Now()
		}
	}
}

func countLeases(s *inspect.Snapshot) int {
	all := map[string]bool{}
	for _, line := range s.Lines {
		for i := range line.Entries {
			all[line.Entries[i].Lease] = true
		}
	}
	return len(all)
}

// closed asks etcd's history whether a hold has ended in order.
func (m *mirror) closed(ctx context.Context, kind, name, key string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	held, err := inspect.History(ctx, m.client, kind, name, m.namespace)
	if err != nil {
		return false
	}
	for _, h := range slices.Backward(held) {
		if h.Key == key {
			return h.End == inspect.EndClosed || h.End == inspect.EndReleased
		}
	}
	return false
}

func id(kind, name string) string { return kind + " " + name }

// count is how many hold, and wait.
func count(line *inspect.Line) (holds, waits int) {
	for i := range line.Entries {
		if line.Entries[i].State == inspect.Waits {
			waits++
		} else {
			holds++
		}
	}
	return holds, waits
}

// digest changes when there is something to show that the page does not count by itself.
func (l *look) digest() string {
	if l.Snapshot == nil {
		return fmt.Sprint(l.failed)
	}
	var suspects []string
	for lease := range l.suspects {
		suspects = append(suspects, lease)
	}
	slices.SortFunc(suspects, func(a, b string) int { return cmp.Compare(a, b) })
	return fmt.Sprint(l.Revision, l.failed, len(l.deadlocks), len(l.lost), l.leftAt.Unix(), strings.Join(suspects, ","))
}
