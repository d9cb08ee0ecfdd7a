package fencetest

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/session"
)

// Node is a client's side: a process, and its way to etcd. Faults of a Node meet all clients that it has.
type Node struct {
	etcd *Etcd
	name string

	mu      sync.Mutex
	in, out bool // held: nothing comes in from etcd, goes out to it
	refused bool // connections are refused
	links   []*link
	changed chan struct{} // closed and replaced when one of these has changed
	clock   keeper.Clock
}

// Direction of what a cut holds back, as the Node sees it.
type Direction int

const (
	Both Direction = iota
	In             // answers and events
	Out            // requests
)

// Node is the one of that name; it is made when it is asked for first.
func (e *Etcd) Node(name string) *Node {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.nodes[name]
	if n == nil {
		n = &Node{etcd: e, name: name, changed: make(chan struct{}), clock: newClock(1)}
		e.nodes[name] = n
	}
	return n
}

// Name is what the transcript calls it.
func (n *Node) Name() string { return n.name }

// Client is a real client of etcd's on this Node, which the test's end closes. configure may add to its configuration, such as a user.
func (n *Node) Client(t testing.TB, configure ...func(*clientv3.Config)) *clientv3.Client {
	t.Helper()
	n.mu.Lock()
	clock := n.clock
	n.mu.Unlock()
	cfg := clientv3.Config{Logger: zap.NewNop(), Context: keeper.WithClock(context.Background(), clock)}
	for _, m := range n.etcd.members {
		cfg.Endpoints = append(cfg.Endpoints, m.endpoint())
	}
	for _, f := range configure {
		f(&cfg)
	}
	cfg.DialOptions = append(cfg.DialOptions, grpc.WithContextDialer(n.dial))
	c, err := clientv3.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // the test may have done so
	return c
}

// Session opens one with a client of its own, and without the witness that the environment may name: that is outside of the bubble. The test's
// end closes both.
func (n *Node) Session(t testing.TB, opts ...session.Option) *session.Session {
	t.Helper()
	s, err := session.Open(t.Context(), n.Client(t), append([]session.Option{session.WithWitness("")}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) }) // what it says of an etcd that is away, is no failure of the test's
	return s
}

// Skew makes the Node's clock run faster (1.01) or slower (0.99) than etcd's, for the sessions of clients that are made later. Timers are
// Go's, and keep to etcd's time.
func (n *Node) Skew(rate float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.clock = newClock(rate)
}

// Cut holds back what comes in, goes out, or both, until Heal: nothing is lost, nothing ends, and who waits does not hear why. New
// connections wait as well.
func (n *Node) Cut(d Direction) {
	n.etcd.note(n.name, "is cut off: %s", []string{"both ways", "nothing comes in", "nothing goes out"}[d])
	n.change(func() { n.in, n.out = n.in || d != Out, n.out || d != In })
}

// Freeze is Cut of both ways: of a process that is stopped, nothing is heard, while time goes on. Its goroutines run; a test has them
// wait.
func (n *Node) Freeze() { n.Cut(Both) }

// Refuse ends the connections, and refuses new ones until Heal.
func (n *Node) Refuse() {
	n.etcd.note(n.name, "is refused")
	n.change(func() { n.refused = true })
	n.Reset()
}

// Reset ends the connections; new ones may follow at once.
func (n *Node) Reset() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.links {
		l.reset()
	}
}

// Heal ends Cut, Freeze and Refuse. What was held back arrives now.
func (n *Node) Heal() {
	n.etcd.note(n.name, "is well again")
	n.change(func() { n.in, n.out, n.refused = false, false, false })
}

// Thaw is Heal.
func (n *Node) Thaw() { n.Heal() }

func (n *Node) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	for _, l := range n.links {
		l.toEtcd.change(func() { l.toEtcd.held = n.out })
		l.toNode.change(func() { l.toNode.held = n.in })
	}
	close(n.changed)
	n.changed = make(chan struct{})
}

// dial connects the Node with the member of that address.
func (n *Node) dial(ctx context.Context, addr string) (net.Conn, error) {
	m := n.etcd.memberAt(addr)
	if m == nil {
		return nil, fmt.Errorf("fencetest: dial %s: no such member", addr)
	}
	for {
		n.mu.Lock()
		refused, held, changed := n.refused, n.in || n.out, n.changed
		n.mu.Unlock()
		switch {
		case refused, m.isDown():
			return nil, fmt.Errorf("fencetest: dial %s: connection refused", addr)
		case !held:
			return n.connect(ctx, m)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (n *Node) connect(ctx context.Context, m *member) (net.Conn, error) {
	l := &link{newHalf(false), newHalf(false), m.index}
	over := func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.links = slices.DeleteFunc(n.links, func(o *link) bool { return o == l })
	}
	here, there := address(n.name), m.listener.addr
	mine := &end{in: l.toNode, out: l.toEtcd, local: here, remote: there, over: over}
	theirs := &end{in: l.toEtcd, out: l.toNode, local: there, remote: here, over: func() {}}
	select {
	case m.listener.conns <- theirs:
	case <-m.listener.closed:
		return nil, fmt.Errorf("fencetest: dial %s: connection refused", there)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links = append(n.links, l)
	l.toEtcd.change(func() { l.toEtcd.held = n.out })
	l.toNode.change(func() { l.toNode.held = n.in })
	return mine, nil
}

// resetTo ends the connections with one member.
func (n *Node) resetTo(index int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.links {
		if l.member == index {
			l.reset()
		}
	}
}
