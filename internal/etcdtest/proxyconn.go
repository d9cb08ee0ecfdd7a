package etcdtest

import (
	"context"
	"net"
	"sync"
	"time"
)

// conn is one connection through a proxy.
type conn struct {
	proxy          *Proxy
	client, server *net.TCPConn
	ctx            context.Context // ends when the connection does
	cancel         context.CancelFunc
	lossy          bool // an answer was swallowed; guarded by proxy.mu
}

// chunk is a piece of a stream, and when it was read.
type chunk struct {
	bytes []byte
	read  time.Time
}

func newConn(p *Proxy, client, server *net.TCPConn) *conn {
	c := &conn{proxy: p, client: client, server: server}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// forward copies both ways until either side ends.
func (c *conn) forward() {
	var flows sync.WaitGroup
	flows.Go(func() { c.flow(c.client, c.server, &c.proxy.requests, false) })
	flows.Go(func() { c.flow(c.server, c.client, &c.proxy.answers, true) })
	flows.Wait()
}

// reset ends the connection as a firewall would: neither side is told why.
func (c *conn) reset() {
	c.client.SetLinger(0)
	c.server.SetLinger(0)
	c.close()
}

func (c *conn) close() {
	c.cancel()
	c.client.Close()
	c.server.Close()
}

// flow reads ahead of what it writes, so that a delay does not cost throughput.
func (c *conn) flow(from, to *net.TCPConn, w *wire, answers bool) {
	chunks := make(chan chunk, 64)
	var reader sync.WaitGroup
	defer reader.Wait()
	reader.Go(func() {
		defer close(chunks)
		for {
			buf := make([]byte, 16<<10)
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			select {
			case chunks <- chunk{buf[:n], time.Now()}:
			case <-c.ctx.Done():
				return
			}
		}
	})
	defer c.close()
	for ch := range chunks {
		if !c.deliver(ch, to, w, answers) {
			return
		}
	}
}

// deliver writes the chunk when the faults of the proxy let it pass. It reports whether the connection goes on.
func (c *conn) deliver(ch chunk, to *net.TCPConn, w *wire, answers bool) bool {
	f, ok := c.passable()
	if !ok || !c.sleepUntil(ch.read.Add(f.delay)) || !c.sleepUntil(w.transmit(len(ch.bytes), f.bandwidth)) {
		return false
	}
	if f, ok = c.passable(); !ok {
		return false
	}
	if answers && f.dropAnswers {
		c.proxy.mu.Lock()
		c.lossy = true
		c.proxy.mu.Unlock()
		return true
	}
	_, err := to.Write(ch.bytes)
	return err == nil
}

// passable waits until the proxy is no black hole, and returns what else is wrong with it.
func (c *conn) passable() (faults, bool) {
	for {
		c.proxy.mu.Lock()
		f, changed := c.proxy.faults, c.proxy.changed
		c.proxy.mu.Unlock()
		if !f.blackhole {
			return f, c.ctx.Err() == nil
		}
		select {
		case <-changed:
		case <-c.ctx.Done():
			return f, false
		}
	}
}

func (c *conn) sleepUntil(t time.Time) bool {
	if !time.Now().Before(t) {
		return c.ctx.Err() == nil
	}
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.ctx.Done():
		return false
	}
}

// wire is one direction of the network, which all connections share.
type wire struct {
	mu   sync.Mutex
	free time.Time // when all that was accepted so far has passed
}

// transmit takes the next free time for n bytes, and returns when they have passed.
func (w *wire) transmit(n, bytesPerSecond int) time.Time {
	if bytesPerSecond <= 0 {
		return time.Time{}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := time.Now(); w.free.Before(now) {
		w.free = now
	}
	w.free = w.free.Add(time.Duration(n) * time.Second / time.Duration(bytesPerSecond))
	return w.free
}
