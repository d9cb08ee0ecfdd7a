package condition

import (
	"net"
	"sync"
	"time"
)

// proxy passes on what comes, later.
type proxy struct {
	listener net.Listener
	target   string
	delay    time.Duration
	loops    sync.WaitGroup

	mu     sync.Mutex
	open   map[net.Conn]bool
	closed bool
}

func listen(target string, delay time.Duration) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, target: target, delay: delay, open: map[net.Conn]bool{}}
	p.loops.Go(p.accept)
	return p, nil
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		if !p.keep(client, server) {
			return
		}
		p.loops.Go(func() { p.flow(client, server) })
		p.loops.Go(func() { p.flow(server, client) })
	}
}

func (p *proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if p.closed {
			c.Close()
		}
		p.open[c] = true
	}
	return !p.closed
}

type piece struct {
	due   time.Time
	bytes []byte
}

// flow reads as fast as it comes, and writes each piece when its time has come: a delay, and no limit to the rate.
func (p *proxy) flow(from, to net.Conn) {
	pieces := make(chan piece, 4096)
	p.loops.Go(func() {
		defer to.Close()
		for piece := range pieces {
			time.Sleep(time.Until(piece.due))
			if _, err := to.Write(piece.bytes); err != nil {
				from.Close() // the reader ends, and with it the pieces
				for range pieces {
				}
				return
			}
		}
	})
	defer close(pieces)
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			pieces <- piece{time.Now().Add(p.delay), append([]byte(nil), buffer[:n]...)}
		}
		if err != nil {
			p.mu.Lock()
			delete(p.open, from)
			p.mu.Unlock()
			return
		}
	}
}

// close ends all connections, and waits for what serves them.
func (p *proxy) close() {
	p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for c := range p.open {
		c.Close()
	}
	p.mu.Unlock()
	p.loops.Wait()
}
