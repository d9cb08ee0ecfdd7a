package registry

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"
	"sync/atomic"
)

// Transport sends http://SERVICE/… to an instance of SERVICE, as Pick chooses it. base nil is http.DefaultTransport.
//
// An instance that refuses the connection is passed over, and another one is tried, each at most once. A request of which
// anything may have been written is never sent again; nor is one whose body was touched and that has no GetBody. The
// instance sees the Host that the request has: SERVICE, or what Request.Host says. For https its certificate has to
// be for the instance's address, unless base says otherwise. A URL with a port or a user is an error: which instance, the
// Directory says.
//
// ErrNoInstance: nobody is Up. The error of a request that no instance has taken is the last one's.
func Transport(d *Directory, base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{d, base}
}

type transport struct {
	directory *Directory
	base      http.RoundTripper
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
	if req.URL.Port() != "" || service == "" {
		return nil, fmt.Errorf("registry: %q is no address of a service: want http://SERVICE/…, without a port", req.URL.Host)
	}
	var tried []string
	var last error
	for {
		in, err := t.directory.other(req, service, tried)
		if err != nil {
			if last != nil {
				return nil, fmt.Errorf("registry: no instance of %q takes the request: %w", service, last)
			}
			return nil, err
		}
		resp, again, err := t.try(req, in, len(tried) > 0)
		if err == nil || !again {
			return resp, err
		}
		tried, last = append(tried, in.ID), err
	}
}

// other picks an instance that was not tried yet.
func (d *Directory) other(req *http.Request, service string, tried []string) (Instance, error) {
	in, err := d.Pick(req.Context(), service)
	if err != nil || !slices.Contains(tried, in.ID) {
		return in, err
	}
	l, err := d.listing(req.Context(), service)
	if err != nil {
		return in, err
	}
	var left []Entry
	if l != nil {
		left = slices.DeleteFunc(slices.Clone(l.entries), func(e Entry) bool { return slices.Contains(tried, e.ID) })
	}
	rest := newListing(left, d.opts.zone)
	if len(rest.picks) == 0 {
		return Instance{}, fmt.Errorf("%w of %q is left", ErrNoInstance, service)
	}
	return rest.entries[rest.picks[rest.draw()].at].Instance, nil
}

// try sends req to one instance. again says that nothing of it can have been written, and that it can be sent once more.
func (t *transport) try(req *http.Request, in Instance, repeated bool) (resp *http.Response, again bool, err error) {
	var connected atomic.Bool
	ctx := httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
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
			return nil, false, err
		}
	default:
		body.ReadCloser = req.Body
		to.Body = body
	}
	resp, err = t.base.RoundTrip(to)
	var dial *net.OpError
	refused := errors.As(err, &dial) && dial.Op == "dial" && !connected.Load()
	whole := req.Body == nil || req.Body == http.NoBody || req.GetBody != nil || !body.touched.Load()
	again = refused && whole && req.Context().Err() == nil
	if !again && body.ReadCloser != nil {
		body.release()
	}
	return resp, again, err
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
