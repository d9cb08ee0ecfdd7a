package registry

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

// refusing is an address where nobody listens.
func refusing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// of shows these instances of a service, without an etcd.
func of(service string, addrs ...string) *Directory {
	var entries []Entry
	for i, addr := range addrs {
		entries = append(entries, Entry{Instance: Instance{ID: fmt.Sprint(i), Addr: addr, Status: Up, Weight: 1}})
	}
	d := &Directory{}
	d.shown.Store(&map[string]*listing{service: listingOf(entries, "")})
	return d
}

func httpClient(t *testing.T, d *Directory) *http.Client {
	base := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(base.CloseIdleConnections)
	return &http.Client{Transport: Transport(d, base)}
}

func TestRequestsGoToAnInstanceAndPastThoseThatRefuse(t *testing.T) {
	var calls atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.Host, r.URL, body)
	}))
	defer server.Close()
	addr := server.Listener.Addr().String()
	client := httpClient(t, of("web", refusing(t), refusing(t), addr))
	for i := range 20 {
		resp, err := client.Post("http://web/a?b=c", "text/plain", strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(text) != "POST web /a?b=c hello" {
			t.Errorf("%s", text)
		}
		// A body that cannot be had twice is sent, too, as long as no attempt has touched it.
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://web/", io.MultiReader(strings.NewReader("once")))
		if resp, err = client.Do(req); err != nil {
			t.Fatal(i, err)
		}
		text, _ = io.ReadAll(resp.Body)
		resp.Body.Close()
		if !strings.HasSuffix(string(text), "once") {
			t.Errorf("%s", text)
		}
	}
	if calls.Load() != 40 {
		t.Errorf("%d calls", calls.Load())
	}
}

func TestRequestThatMayHaveBeenWrittenIsNotSentAgain(t *testing.T) {
	var calls atomic.Int64
	rude := func() string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			panic(http.ErrAbortHandler)
		}))
		t.Cleanup(server.Close)
		return server.Listener.Addr().String()
	}
	resp, err := httpClient(t, of("web", rude(), rude())).Post("http://web/", "text/plain", strings.NewReader("x"))
	if err == nil {
		resp.Body.Close()
	}
	if err == nil || calls.Load() != 1 {
		t.Errorf("%d calls, %v", calls.Load(), err)
	}
}

func TestRequestToNobodySaysSo(t *testing.T) {
	for what, c := range map[string]struct {
		d         *Directory
		url, says string
		none      bool
	}{
		"unknown service": {of("web", "a:1"), "http://other/", `"other"`, true},
		"all refuse":      {of("web", refusing(t), refusing(t)), "http://web/", "refused", false},
		"a port":          {of("web", "a:1"), "http://web:80/", "web:80", false},
		"a user":          {of("web", "a:1"), "http://me:secret@web/", "without a port or a user", false},
	} {
		resp, err := httpClient(t, c.d).Get(c.url)
		if err == nil {
			resp.Body.Close()
		}
		if err == nil || errors.Is(err, ErrNoInstance) != c.none || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestPrometheusReadsTheInstances(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), service(t)
	put(t, client, "services/"+name+"/a", `{"Addr":"a:1","Zone":"z","Metadata":{"git-sha":"1","b":"2"}}`)
	put(t, client, "services/"+name+"/b", `{"Addr":"b:1","Status":"draining","Version":"1.2","Weight":5}`)
	d := directory(t, client)
	ask := func(service, method string) *http.Response {
		w := httptest.NewRecorder()
		PrometheusSD(d, service).ServeHTTP(w, httptest.NewRequest(method, "/", nil))
		return w.Result()
	}
	resp := ask(name, http.MethodGet)
	text, _ := io.ReadAll(resp.Body)
	label := func(name string) string { return `"__meta_fenceline_` + name }
	want := `[{"targets":["a:1"],"labels":{` + label(`id":"a"`) + "," + label(`meta_b":"2"`) + "," + label(`meta_git_sha":"1"`) + "," + label(`service":"`+name+`"`) +
		"," + label(`status":"up"`) + "," + label(`weight":"1"`) + "," + label(`zone":"z"`) + `}},` +
		`{"targets":["b:1"],"labels":{` + label(`id":"b"`) + "," + label(`service":"`+name+`"`) + "," + label(`status":"draining"`) + "," + label(`version":"1.2"`) + "," + label(`weight":"5"`) + "}}]\n"
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" || string(text) != want {
		t.Errorf("%d %s:\n%s\nwant\n%s", resp.StatusCode, resp.Header, text, want)
	}
	if text, _ := io.ReadAll(ask("nobody", http.MethodGet).Body); string(text) != "[]\n" {
		t.Errorf("of nobody: %s", text)
	}
	if text, _ := io.ReadAll(ask("", http.MethodGet).Body); !strings.Contains(string(text), name) {
		t.Errorf("of all: %s", text)
	}
	if resp := ask(name, http.MethodPost); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", resp.StatusCode)
	}
}
