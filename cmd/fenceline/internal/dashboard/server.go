package dashboard

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

//go:embed assets views
var files embed.FS

// server serves the pages. Its methods are views, or handlers.
type server struct {
	client    *clientv3.Client
	mirror    *mirror
	namespace string
	values    bool // values and metadata are shown
	actions   bool // something may be done

	hosts  []string // by which the server may be called, besides addresses; nil: any
	auth   *accounts
	header string // by which a proxy in front tells who looks; empty: none does
	shown  *template.Template
	say    func(string, ...any)

	mu      sync.Mutex
	streams int
}

const mostStreams = 500

// handler serves all pages, at any prefix: links are relative.
func (s *server) handler() http.Handler {
	s.shown = template.Must(template.New("").Funcs(functions).ParseFS(files, "views/*.html"))
	assets, err := fs.Sub(files, "assets")
	if err != nil {
		panic(err) // they are embedded
	}
	mux := http.NewServeMux()
	for at, v := range map[string]view{"/{$}": s.overview, "/lines": s.lines, "/line": s.line, "/elections": s.elections, "/jobs": s.jobs, "/job": s.job,
		"/services": s.services, "/service": s.service, "/sessions": s.sessions, "/graph": s.graph} {
		mux.HandleFunc("GET "+at, func(w http.ResponseWriter, r *http.Request) { s.show(w, r, v) })
	}
	mux.Handle("GET /assets/", http.StripPrefix("/assets/", cached(http.FileServerFS(assets))))
	mux.HandleFunc("GET /events", s.events)
	mux.HandleFunc("GET /action", s.askAction)
	mux.HandleFunc("POST /action", s.doAction)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, http.StatusNotFound, fmt.Errorf("%w: %s", errNoPage, r.URL.Path))
	})
	open := http.NewServeMux()
	open.HandleFunc("GET /healthz", s.healthz)
	open.Handle("/", s.checked(http.NewCrossOriginProtection().Handler(mux)))
	return secured(open)
}

func cached(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=300")
		h.ServeHTTP(w, r)
	})
}

// secured has browsers run and load nothing but what is served here, and nobody frame it.
func secured(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
			"X-Content-Type-Options":  "nosniff",
			"Referrer-Policy":         "no-referrer",
			"X-Frame-Options":         "DENY",
			"Cache-Control":           "no-store",
		} {
			w.Header().Set(name, value)
		}
		h.ServeHTTP(w, r)
	})
}

// show serves a view: as a page, as its live part alone, or as JSON.
func (s *server) show(w http.ResponseWriter, r *http.Request, v view) {
	l := s.mirror.now(r.Context())
	if l.Snapshot == nil {
		s.fail(w, r, http.StatusServiceUnavailable, errors.New("etcd was not read yet"))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	title, found, err := v(ctx, &l, r)
	switch {
	case errors.Is(err, errNoPage):
		s.fail(w, r, http.StatusNotFound, err)
		return
	case err != nil:
		s.fail(w, r, http.StatusServiceUnavailable, err)
		return
	}
	if r.URL.Query().Get("format") == "json" {
		s.writeJSON(w, http.StatusOK, map[string]any{"revision": l.Revision, "at": l.at, "view": found})
		return
	}
	p := s.page(r, &l, title)
	p.Name, p.View = nameOf(r), found
	s.write(w, http.StatusOK, p, r.Header.Get("Fenceline-Part") == "live")
}

// nameOf is that of the template, which is that of the page.
func nameOf(r *http.Request) string {
	if name := path.Base(r.URL.Path); name != "/" {
		return name
	}
	return "overview"
}

func (s *server) page(r *http.Request, l *look, title string) *page {
	p := &page{Title: title, Revision: l.Revision, At: l.at, Actions: s.actions, Values: s.values, Who: whoOf(r)}
	p.Path = strings.TrimPrefix(r.URL.Path, "/")
	if r.URL.RawQuery != "" {
		p.Path += "?" + r.URL.RawQuery
	}
	if p.Path == "" {
		p.Path = "./"
	}
	q := r.URL.Query()
	q.Set("format", "json")
	p.Twin = strings.TrimPrefix(r.URL.Path, "/") + "?" + q.Encode()
	if l.failed != nil {
		p.Failed = l.failed.Error()
	}
	at := nameOf(r)
	parent := map[string]string{"line": "lines", "job": "jobs", "service": "services", "action": "lines"}
	for _, one := range []room{{Link: "./", Text: "Trouble", Count: len(troubles(l, time.Now()))}, {Link: "lines", Text: "Lines"}, {Link: "elections", Text: "Elections"}, {Link: "jobs", Text: "Jobs"},
		{Link: "services", Text: "Services"}, {Link: "sessions", Text: "Sessions"}, {Link: "graph", Text: "Graph"}} {
		one.Here = one.Link == at || one.Link == parent[at] || one.Link == "./" && at == "overview"
		p.Rooms = append(p.Rooms, one)
	}
	return p
}

func (s *server) write(w http.ResponseWriter, status int, p *page, live bool) {
	name := "page"
	if live {
		name = "live"
	}
	var out bytes.Buffer
	if err := s.shown.ExecuteTemplate(&out, name, p); err != nil {
		s.say("page %q: %v", p.Name, err)
		http.Error(w, "the page cannot be drawn: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = out.WriteTo(w) // who asked has gone
}

func (s *server) writeJSON(w http.ResponseWriter, status int, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // who asked has gone
}

// fail serves an error, in the form that was asked for.
func (s *server) fail(w http.ResponseWriter, r *http.Request, status int, err error) {
	if r.URL.Query().Get("format") == "json" {
		s.writeJSON(w, status, map[string]string{"error": err.Error()})
		return
	}
	l, _ := s.mirror.next()
	if l.Snapshot == nil {
		http.Error(w, err.Error(), status)
		return
	}
	p := s.page(r, &l, http.StatusText(status))
	p.Name, p.View = "failed", err.Error()
	s.write(w, status, p, r.Header.Get("Fenceline-Part") == "live")
}

func (s *server) healthz(w http.ResponseWriter, _ *http.Request) {
	l, _ := s.mirror.next()
	if l.failed != nil || l.Snapshot == nil {
		http.Error(w, fmt.Sprintf("etcd cannot be read: %v", l.failed), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// events tells a browser, as server-sent events, when there is something new to see.
func (s *server) events(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	full := s.streams >= mostStreams
	if !full {
		s.streams++
	}
	s.mu.Unlock()
	if full {
		http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		return
	}
	s.mirror.watched(1)
	defer func() {
		s.mirror.watched(-1)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.streams--
	}()
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // else proxies keep it to themselves
	last := s.mirror.now(r.Context()).changed
	if _, err := fmt.Fprint(w, "retry: 2000\n\n"); err != nil || out.Flush() != nil {
		return
	}
	beat := time.NewTicker(15 * time.Second)
	defer beat.Stop()
	for {
		l, changed := s.mirror.next()
		if l.changed != last {
			last = l.changed
			if _, err := fmt.Fprintf(w, "event: look\ndata: %d\n\n", l.at.UnixMilli()); err != nil || out.Flush() != nil {
				return
			}
		}
		select {
		case <-changed:
		case <-beat.C:
			if _, err := fmt.Fprint(w, ": still here\n\n"); err != nil || out.Flush() != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}
