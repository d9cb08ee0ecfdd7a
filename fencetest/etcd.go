package fencetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/fencetest/internal/store"
	"github.com/fenceline/fenceline/session"
)

// Etcd is one that lives in memory. All methods are safe for concurrent use, and take effect before they return.
type Etcd struct {
	t       testing.TB
	start   time.Time
	members []*member
	over    context.Context // ends with the test
	end     context.CancelFunc

	mu         sync.Mutex
	store      *store.Store
	cluster    uint64
	term       uint64
	leader     int
	leaderless bool // nothing that needs a quorum goes on
	nodes      map[string]*Node
	clients    int           // that Client has made
	changed    chan struct{} // closed and replaced when somebody waits for something else than a revision
	expiry     *time.Timer   // of the scan that finds the next lease which has run out
	tokens     map[string]string
	lastToken  int
	lastLease  int64
	requests   int
	decide     func(Request) Fate
	ranOut     func(clientv3.LeaseID)
	stopped    bool
	faults     map[string]int
	script     transcript
}

// Option changes an Etcd.
type Option func(*config)

type config struct{ members int }

// WithMembers makes a cluster of n: 1, the default, or 3.
func WithMembers(n int) Option { return func(c *config) { c.members = n } }

// Start runs an etcd until the end of the test. In a bubble of [testing/synctest] its time is the bubble's.
func Start(t testing.TB, opts ...Option) *Etcd {
	t.Helper()
	c := config{members: 1}
	for _, o := range opts {
		o(&c)
	}
	if c.members != 1 && c.members != 3 {
		t.Fatalf("fencetest: %d members: want 1 or 3", c.members)
	}
	over, end := context.WithCancel(context.Background())
	e := &Etcd{t: t, over: over, end: end, start: time.Now(), store: store.New(), cluster: 0xfe9ce, term: 2, nodes: map[string]*Node{}, changed: make(chan struct{}),
		tokens: map[string]string{}, faults: map[string]int{}, lastLease: 0x7e57_0000_0000}
	for i := range c.members {
		e.members = append(e.members, newMember(e, i))
	}
	t.Cleanup(e.stop)
	return e
}

// Client is a real client of etcd's, on a [Node] of its own. The end of the test closes it. configure may add to its configuration, such
// as a user.
func (e *Etcd) Client(t testing.TB, configure ...func(*clientv3.Config)) *clientv3.Client {
	t.Helper()
	return e.next().Client(t, configure...)
}

// Session opens one, with a client of its own on a [Node] of its own. The end of the test closes both.
func (e *Etcd) Session(t testing.TB, opts ...session.Option) *session.Session {
	t.Helper()
	return e.next().Session(t, opts...)
}

func (e *Etcd) next() *Node {
	e.mu.Lock()
	e.clients++
	name := fmt.Sprintf("client-%d", e.clients)
	e.mu.Unlock()
	return e.Node(name)
}

func (e *Etcd) stop() {
	e.mu.Lock()
	e.stopped = true
	if e.expiry != nil {
		e.expiry.Stop()
	}
	e.end()
	e.signal()
	e.mu.Unlock()
	for _, n := range e.allNodes() {
		n.change(func() { n.in, n.out, n.refused = false, false, false })
		n.Reset()
	}
	for _, m := range e.members {
		m.server.Stop()
		m.serving.Wait()
	}
}

// now is the time since the start.
func (e *Etcd) now() time.Duration { return time.Since(e.start) }

// Now is the time since the start, which the transcript goes by.
func (e *Etcd) Now() time.Duration { return e.now() }

// signal wakes who waits for a change. It is called with the mutex held.
func (e *Etcd) signal() {
	close(e.changed)
	e.changed = make(chan struct{})
}

// wait waits with the mutex held, but for the time between, until ok.
func (e *Etcd) wait(ctx context.Context, ok func() bool) error {
	for !ok() {
		changed := e.changed
		e.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		e.mu.Lock()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// committed tells all who follow. It is called with the mutex held, after each change of the store.
func (e *Etcd) committed() {
	for _, m := range e.members {
		if !m.lagging {
			m.applied = e.store.Revision()
			m.flush()
		}
	}
	e.script.events(e.now(), e.store)
	e.scan()
}

// scanEvery is how often etcd looks for leases that have run out.
const scanEvery = 500 * time.Millisecond

// scan sets the timer for the first scan that finds something.
func (e *Etcd) scan() {
	all := e.store.Leases()
	if len(all) == 0 || e.stopped || e.leaderless {
		if e.expiry != nil {
			e.expiry.Stop()
		}
		return
	}
	at := (all[0].Expiry + scanEvery - 1) / scanEvery * scanEvery
	wait := max(at-e.now(), 0)
	if e.expiry == nil {
		e.expiry = time.AfterFunc(wait, e.expire)
	} else {
		e.expiry.Reset(wait)
	}
}

func (e *Etcd) expire() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopped || e.leaderless {
		return
	}
	for _, l := range e.store.Leases() {
		if l.Expiry > e.now() {
			break
		}
		e.script.note(e.now(), "etcd", "lease %x has run out", l.ID)
		if e.ranOut != nil {
			e.ranOut(clientv3.LeaseID(l.ID))
		}
		e.revoke(l.ID)
	}
	e.scan()
}

// revoke ends a lease.
func (e *Etcd) revoke(id int64) {
	if _, err := e.store.Revoke(id); err == nil {
		e.committed()
		e.signal()
	}
}

func (e *Etcd) memberAt(addr string) *member {
	for _, m := range e.members {
		if string(m.listener.addr) == addr {
			return m
		}
	}
	return nil
}

func (e *Etcd) allNodes() []*Node {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.SortedFunc(maps.Values(e.nodes), func(a, b *Node) int { return strings.Compare(a.name, b.name) })
}

func (e *Etcd) resetAll() {
	for _, n := range e.allNodes() {
		n.Reset()
	}
}
