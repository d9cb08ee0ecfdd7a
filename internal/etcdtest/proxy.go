package etcdtest

import (
	"errors"
	"net"
	"net/url"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Proxy is the network between clients and one member, for tests to break. Its methods are safe for concurrent
// use. What is already on its way when a fault begins may still arrive.
type Proxy struct {
	t      testing.TB
	member *Member
	target *url.URL
	port   *port

	requests, answers wire

	mu       sync.Mutex
	listener net.Listener // nil while cut
	conns    map[*conn]bool
	faults   faults
	changed  chan struct{} // closed when the faults change
	running  sync.WaitGroup
}

type faults struct {
	blackhole, dropAnswers bool
	delay                  time.Duration
	bandwidth              int // bytes per second each way; 0 is no limit
}

// NewProxy opens a network that works. It closes with the test.
func NewProxy(t testing.TB, m *Member) *Proxy {
	t.Helper()
	target, err := url.Parse(m.endpoint)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{t: t, member: m, target: target, port: newPort(t), conns: map[*conn]bool{}, changed: make(chan struct{})}
	p.Heal()
	t.Cleanup(func() {
		p.Cut()
		p.running.Wait()
	})
	return p
}

// Endpoint is the URL of the member through the proxy.
func (p *Proxy) Endpoint() string { return p.target.Scheme + "://" + p.port.String() }

// Client connects to the member through the proxy; otherwise as Member.Client.
func (p *Proxy) Client(t testing.TB, configure ...func(*clientv3.Config)) *clientv3.Client {
	t.Helper()
	return newClient(t, []string{p.Endpoint()}, append([]func(*clientv3.Config){p.member.secure}, configure...)...)
}

// Cut resets all connections and refuses new ones.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
	for c := range p.conns {
		c.reset()
	}
}

// Blackhole lets connections stand, accepts new ones, and forwards nothing. What is sent meanwhile arrives after
// Heal, as it would after a lost packet.
func (p *Proxy) Blackhole() { p.change(func(f *faults) { f.blackhole = true }) }

// DropAnswers forwards what clients send, and swallows what the member answers.
func (p *Proxy) DropAnswers() { p.change(func(f *faults) { f.dropAnswers = true }) }

// Delay keeps everything back for d, each way.
func (p *Proxy) Delay(d time.Duration) { p.change(func(f *faults) { f.delay = d }) }

// Bandwidth lets that many bytes a second pass each way, over all connections together.
func (p *Proxy) Bandwidth(bytesPerSecond int) {
	p.change(func(f *faults) { f.bandwidth = bytesPerSecond })
}

// Heal ends all faults. Connections that have lost answers are reset: they could not make sense of the next.
func (p *Proxy) Heal() {
	p.change(func(f *faults) { *f = faults{} })
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if c.lossy {
			c.reset()
		}
	}
	if p.listener != nil {
		return
	}
	l, err := net.Listen("tcp", p.port.String())
	// A process that was being started when Cut closed the socket has it as well, until the kernel is done with its exec.
	for end := time.Now().Add(5 * time.Second); errors.Is(err, syscall.EADDRINUSE) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
		l, err = net.Listen("tcp", p.port.String())
	}
	if err != nil {
		p.t.Errorf("etcdtest: proxy: %v", err)
		return
	}
	p.listener = l
	p.running.Go(func() { p.accept(l) })
}

func (p *Proxy) change(f func(*faults)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.faults)
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Proxy) accept(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return // cut
		}
		p.running.Go(func() { p.connect(l, client.(*net.TCPConn)) })
	}
}

// connect serves one connection until it ends. A member that refuses is a reset.
func (p *Proxy) connect(l net.Listener, client *net.TCPConn) {
	server, err := net.Dial("tcp", p.target.Host)
	if err != nil {
		client.SetLinger(0)
		client.Close()
		return
	}
	c := newConn(p, client, server.(*net.TCPConn))
	p.mu.Lock()
	p.conns[c] = true
	if p.listener != l { // cut while we were dialling
		c.reset()
	}
	p.mu.Unlock()

	c.forward()

	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
}
