package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Transport sends http://SERVICE/… to an instance of SERVICE, as Pick chooses it. base nil is http.DefaultTransport.
//
// An instance that refuses the connection is passed over, and another one is tried, each at most once. A request of which
// anything may have been written is never sent again; nor is one whose body was touched and that has no GetBody. The
// instance sees the Host that the request has: SERVICE, or what Request.Host says. For https its certificate has to
// be for the instance's address, unless base says otherwise. A URL with a port or a user is an error: which instance, the
// Directory says. A redirect has to be to an address of a service, too.
//
// An instance that does not take a connection within two seconds is passed over as well, while others are left; whoever was passed
// over is not picked for a second, and for twice as long each time until it takes one, up to half a minute, unless nobody
// else is left.
//
// ErrNoInstance: nobody is Up. The error of a request that no instance has taken is the last one's.
func Transport(d *Directory, base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{directory: d, base: base, ejected: map[string]ejection{}}
}

type transport struct {
	directory *Directory
	base      http.RoundTripper

	mu      sync.Mutex
	ejected map[string]ejection // by address
}

const (
	connectWithin = 2 * time.Second
	ejectFirst    = time.Second
	ejectMost     = 30 * time.Second
	maxEjected    = 1000
)

// ejection is an address that has not taken a connection.
type ejection struct {
	until  time.Time
	failed int
}

// eject has an address passed over for a while.
func (t *transport) eject(addr string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.ejected[addr]
	e.until = time.Now().Add(min(ejectFirst<<min(e.failed, 10), ejectMost))
	e.failed++
	if len(t.ejected) >= maxEjected {
		clear(t.ejected)
	}
	t.ejected[addr] = e
}

// admit says that it has taken one.
func (t *transport) admit(addr string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.ejected, addr)
}

func (t *transport) isEjected(addr string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Now().Before(t.ejected[addr].until)
}

// CloseIdleConnections closes those of base, if it can. http.Client calls it.
func (t *transport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.send(req)
	if err != nil && resp == nil && req.Body != nil {
		_ = req.Body.Close() // as RoundTripper asks; the error that matters is err
	}
	return resp, err
}

func (t *transport) send(req *http.Request) (*http.Response, error) {
	service := req.URL.Hostname()
	if req.URL.Port() != "" || service == "" || req.URL.User != nil {
		return nil, fmt.Errorf("registry: %q is no address of a service: want http://SERVICE/…, without a port or a user", req.URL.Redacted())
	}
	var tried []string
	var last error
	for {
		in, others, err := t.other(req, service, tried)
		if err != nil {
			if last != nil {
				return nil, fmt.Errorf("registry: no instance of %q takes the request: %w", service, last)
			}
			return nil, err
		}
		resp, again, err := t.try(req, in, len(tried) > 0, others)
		if err == nil || !again {
			return resp, err
		}
		t.eject(in.Addr)
		tried, last = append(tried, in.ID), err
	}
}

// other picks an instance that was not tried yet, and that takes connections as far as is known, if there is one. others says that
// more are left.
func (t *transport) other(req *http.Request, service string, tried []string) (in Instance, others bool, err error) {
	in, err = t.directory.Pick(req.Context(), service)
	if err != nil {
		return in, false, err
	}
	l, err := t.directory.listing(req.Context(), service)
	if err != nil || l == nil {
		return in, false, err
	}
	if !slices.Contains(tried, in.ID) && !t.isEjected(in.Addr) {
		return in, len(l.picks) > len(tried)+1, nil
	}
	left := slices.DeleteFunc(slices.Clone(l.entries), func(e *Entry) bool { return slices.Contains(tried, e.ID) })
	willing := slices.DeleteFunc(slices.Clone(left), func(e *Entry) bool { return t.isEjected(e.Addr) })
	for _, some := range [][]*Entry{willing, left} {
		if rest := newListing(some, t.directory.opts.zone); len(rest.picks) > 0 {
			return rest.entries[rest.picks[rest.draw()].at].Instance, len(left) > 1, nil
		}
	}
	return Instance{}, false, fmt.Errorf("%w of %q is left", ErrNoInstance, service)
}

var errConnect = fmt.Errorf("registry: the instance has not taken a connection within %v", connectWithin)

// try sends req to one instance. again says that nothing of it can have been written, and that it can be sent once more. While there
// are others, it does not wait for a connection for long.
func (t *transport) try(req *http.Request, in Instance, repeated, others bool) (resp *http.Response, again bool, err error) {
	var connected atomic.Bool
	ctx, cancel := context.WithCancelCause(req.Context())
	var slow *time.Timer
	if others {
		slow = time.AfterFunc(connectWithin, func() { cancel(errConnect) })
		defer slow.Stop()
	}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) {
			connected.Store(true)
			if slow != nil {
				slow.Stop()
			}
		},
	})
	to := req.Clone(ctx)
	to.URL.Host = in.Addr
	if to.Host == "" {
		to.Host = req.URL.Host
	}
	body := &shyBody{}
	switch {
	case req.Body == nil || req.Body == http.NoBody:
	case repeated && req.GetBody != nil:
		if to.Body, err = req.GetBody(); err != nil {
			cancel(nil)
			return nil, false, err
		}
	default:
		body.ReadCloser = req.Body
		to.Body = body
	}
	resp, err = t.base.RoundTrip(to)
	var dial *net.OpError
	refused := (errors.As(err, &dial) && dial.Op == "dial" || context.Cause(ctx) == errConnect) && !connected.Load()
	whole := req.Body == nil || req.Body == http.NoBody || req.GetBody != nil || !body.touched.Load()
	again = refused && whole && req.Context().Err() == nil
	if body.ReadCloser != nil && (!again || req.GetBody != nil) { // whoever comes next has one of its own
		body.release()
	}
	if err != nil {
		if context.Cause(ctx) == errConnect {
			err = errConnect
		}
		cancel(nil)
		return nil, again, err
	}
	t.admit(in.Addr)
	resp.Request = req // of which redirects are reckoned
	resp.Body = ended(resp.Body, func() { cancel(nil) })
	return resp, false, nil
}

// ended is body that calls f when it is closed. That of a connection that was taken over can be written to, and still can.
func ended(body io.ReadCloser, f func()) io.ReadCloser {
	if w, ok := body.(io.ReadWriteCloser); ok {
		return &endedWriter{w, f}
	}
	return &endedReader{body, f}
}

type endedReader struct {
	io.ReadCloser
	f func()
}

func (b *endedReader) Close() error {
	defer b.f()
	return b.ReadCloser.Close()
}

type endedWriter struct {
	io.ReadWriteCloser
	f func()
}

func (b *endedWriter) Close() error {
	defer b.f()
	return b.ReadWriteCloser.Close()
}

// shyBody is a request's body, which is not closed before it is known that no other attempt needs it.
type shyBody struct {
	io.ReadCloser
	touched atomic.Bool

	mu     sync.Mutex
	last   bool // no other attempt follows
	closed bool
}

func (b *shyBody) Read(p []byte) (int, error) {
	b.touched.Store(true)
	return b.ReadCloser.Read(p)
}

func (b *shyBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if b.last {
		return b.ReadCloser.Close()
	}
	return nil
}

// release says that no other attempt follows.
func (b *shyBody) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = true
	if b.closed {
		_ = b.ReadCloser.Close() // the request has ended, one way or the other
	}
}
