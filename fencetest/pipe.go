package fencetest

import (
	"io"
	"net"
	"sync"
	"time"
)

// half is one direction of a connection. What is written waits in it, as in the buffers of a kernel, until it is read; while it is
// held, nothing can be.
type half struct {
	mu     sync.Mutex
	news   sync.Cond
	data   []byte
	held   bool
	closed bool // by who writes: what is there can still be read
	gone   bool // by who reads, or by a reset
}

func newHalf(held bool) *half {
	h := &half{held: held}
	h.news.L = &h.mu
	return h
}

func (h *half) change(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	h.news.Broadcast()
}

func (h *half) read(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.gone:
			return 0, net.ErrClosed
		case h.held:
		case len(h.data) > 0:
			n := copy(b, h.data)
			h.data = h.data[n:]
			return n, nil
		case h.closed:
			return 0, io.EOF
		}
		h.news.Wait()
	}
}

func (h *half) write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.gone {
		return 0, io.ErrClosedPipe
	}
	h.data = append(h.data, b...)
	h.news.Broadcast()
	return len(b), nil
}

// link is a connection between a node and a member.
type link struct {
	toEtcd, toNode *half
	member         int
}

// reset ends it for both.
func (l *link) reset() {
	for _, h := range []*half{l.toEtcd, l.toNode} {
		h.change(func() { h.gone = true })
	}
}

// end is one side of it, as gRPC sees it.
type end struct {
	in, out       *half
	local, remote address
	over          func()
}

func (e *end) Read(b []byte) (int, error)  { return e.in.read(b) }
func (e *end) Write(b []byte) (int, error) { return e.out.write(b) }

func (e *end) Close() error {
	e.in.change(func() { e.in.gone = true })
	e.out.change(func() { e.out.closed = true })
	e.over()
	return nil
}

func (e *end) LocalAddr() net.Addr  { return e.local }
func (e *end) RemoteAddr() net.Addr { return e.remote }

// Deadlines are for handshakes, which nothing delays here but what is meant to.
func (*end) SetDeadline(time.Time) error      { return nil }
func (*end) SetReadDeadline(time.Time) error  { return nil }
func (*end) SetWriteDeadline(time.Time) error { return nil }

type address string

func (address) Network() string  { return "fencetest" }
func (a address) String() string { return string(a) }

// listener hands connections to a member's gRPC server.
type listener struct {
	addr   address
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func newListener(addr address) *listener {
	return &listener{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *listener) Addr() net.Addr { return l.addr }
