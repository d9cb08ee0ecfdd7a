package registry

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// mute is an address that takes no connection and does not refuse one either: its queue is full.
func mute(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*syscall.SockaddrInet4).Port}).String()
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr); err == nil {
			t.Cleanup(func() { c.Close() })
		}
		cancel()
	}
	return addr
}

type closedBody struct {
	io.Reader
	closed *atomic.Int32
}

func (b closedBody) Close() error { b.closed.Add(1); return nil }

func TestEachBodyIsClosed(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	defer server.Close()
	for _, again := range []bool{true, false} {
		client := httpClient(t, of("web", refusing(t), server.Listener.Addr().String()))
		var opened, closed atomic.Int32
		body := func() io.ReadCloser { opened.Add(1); return closedBody{strings.NewReader("hello"), &closed} }
		for range 20 {
			req, err := http.NewRequest("POST", "http://web/", body())
			if err != nil {
				t.Fatal(err)
			}
			if again {
				req.GetBody = func() (io.ReadCloser, error) { return body(), nil }
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		}
		for wait := time.Now().Add(5 * time.Second); closed.Load() < opened.Load() && time.Now().Before(wait); {
			time.Sleep(time.Millisecond)
		}
		if closed.Load() < opened.Load() {
			t.Errorf("GetBody %v: %d opened, %d closed", again, opened.Load(), closed.Load())
		}
	}
}

func TestInstanceThatTakesNoConnectionIsPassedOverAndThenAvoided(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	d := of("web", mute(t), server.Listener.Addr().String())
	base := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(base.CloseIdleConnections)
	client := &http.Client{Transport: Transport(d, base), Timeout: 20 * time.Second}
	slow, start := 0, time.Now()
	for range 40 {
		began := time.Now()
		resp, err := client.Get("http://web/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if time.Since(began) > connectWithin/2 {
			slow++
		}
	}
	if slow > 2 || time.Since(start) > 3*connectWithin {
		t.Errorf("%d of 40 requests waited, %v in all", slow, time.Since(start))
	}
}

func TestRedirectIsReckonedFromTheService(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/start" {
			http.Redirect(w, r, "end", http.StatusFound)
			return
		}
		io.WriteString(w, r.Host+r.URL.Path)
	}))
	defer server.Close()
	resp, err := httpClient(t, of("web", server.Listener.Addr().String())).Get("http://web/start")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if string(text) != "web/end" || resp.Request.URL.String() != "http://web/end" {
		t.Errorf("%s, %v", text, resp.Request.URL)
	}
}

func TestEjectionGrowsAndEndsWithAConnection(t *testing.T) {
	tr := Transport(of("web"), nil).(*transport)
	for i, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 30 * time.Second, 30 * time.Second} {
		tr.eject("a:1")
		if left := time.Until(tr.ejected["a:1"].until); left > want || left < want-time.Second/2 {
			t.Errorf("after %d: %v, want %v", i+1, left, want)
		}
	}
	tr.admit("a:1")
	if tr.isEjected("a:1") {
		t.Error("still")
	}
	for i := range 3 * maxEjected {
		tr.eject(strings.Repeat("x", i%50) + string(rune('a'+i%26)) + ":" + time.Duration(i).String())
	}
	if len(tr.ejected) > maxEjected {
		t.Errorf("%d remembered", len(tr.ejected))
	}
}
