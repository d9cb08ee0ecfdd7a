package fence_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fenceline/fenceline/fence"
)

// byPath names a request's resource by its path.
func byPath(r *http.Request) string { return strings.TrimPrefix(r.URL.Path, "/") }

func request(path string, tokens ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPut, path, nil)
	for _, token := range tokens {
		r.Header.Add(fence.Header, token)
	}
	return r
}

func serve(h http.Handler, r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// unreachable is behind a gate that must not let anything through.
func unreachable(t *testing.T) http.Handler {
	return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("got through") })
}

// problem checks what every refusal has, and returns the rest.
func problem(t *testing.T, resp *http.Response, status int) map[string]any {
	t.Helper()
	var p map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != status || p["status"] != float64(status) || resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("%s, %s, %v; want a problem of status %d", resp.Status, resp.Header.Get("Content-Type"), p, status)
	}
	for _, member := range []string{"type", "title", "detail"} {
		if s, _ := p[member].(string); s == "" {
			t.Errorf("no %s: %v", member, p)
		}
	}
	return p
}

func TestStaleRequestIsAConflictThatNamesBothTokens(t *testing.T) {
	var g fence.Gate
	h := fence.Handler(&g, byPath, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }))
	for _, token := range []string{"7", "7", "8"} {
		if resp := serve(h, request("/db", token)); resp.StatusCode != http.StatusAccepted {
			t.Fatalf("token %s: %s", token, resp.Status)
		}
	}
	p := problem(t, serve(fence.Handler(&g, byPath, unreachable(t)), request("/db", "7")), http.StatusConflict)
	if p["name"] != "db" || p["token"] != 7.0 || p["highest"] != 8.0 || !strings.HasSuffix(p["type"].(string), "#ErrStale") {
		t.Errorf("%v", p)
	}
	if resp := serve(h, request("/other", "1")); resp.StatusCode != http.StatusAccepted {
		t.Errorf("names are not apart: %s", resp.Status)
	}
}

func TestRequestWithoutOneGoodTokenIsABadRequest(t *testing.T) {
	h := fence.Handler(&fence.Gate{}, byPath, unreachable(t))
	for _, tokens := range [][]string{nil, {""}, {"0"}, {"-1"}, {"1.5"}, {"+1"}, {"0x1"}, {"x"}, {"1, 2"}, {"99999999999999999999"}, {"1", "2"}, {"1", "1"}} {
		detail := problem(t, serve(h, request("/db", tokens...)), http.StatusBadRequest)["detail"].(string)
		if !strings.Contains(detail, fence.Header) || !strings.Contains(detail, "positive decimal number") {
			t.Errorf("%q: %q does not name the header and the rule", tokens, detail)
		}
	}
}

func TestRequestWithoutANameIsABadRequest(t *testing.T) {
	problem(t, serve(fence.Handler(&fence.Gate{}, byPath, unreachable(t)), request("/", "1")), http.StatusBadRequest)
}

func TestGateThatCannotBeUsedLetsNoRequestThrough(t *testing.T) {
	for _, g := range []*fence.Gate{nil, fence.NewGate(fence.WithMaxNames(0))} {
		problem(t, serve(fence.Handler(g, byPath, unreachable(t)), request("/db", "1")), http.StatusInternalServerError)
	}
}

func TestPanicInTheHandlerGoesThroughAndTheNextRequestIsServed(t *testing.T) {
	var g fence.Gate
	h := fence.Handler(&g, byPath, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get(fence.Header) == "1" {
			panic(http.ErrAbortHandler)
		}
	}))
	func() {
		defer func() {
			if p := recover(); p != http.ErrAbortHandler {
				t.Errorf("recovered %v", p)
			}
		}()
		serve(h, request("/db", "1"))
	}()
	if resp := serve(h, request("/db", "2")); resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
}

func TestRequestWhoseClientLeftWhileItWaitedDoesNotRun(t *testing.T) {
	var g fence.Gate
	ctx, leave := context.WithCancel(t.Context())
	waiting := make(chan *http.Response, 1)
	err := g.Do("db", 1, func() error {
		h := fence.Handler(&g, func(r *http.Request) string { defer leave(); return byPath(r) }, unreachable(t))
		go func() { waiting <- serve(h, request("/db", "2").WithContext(ctx)) }()
		<-ctx.Done()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	problem(t, <-waiting, http.StatusServiceUnavailable)
	refuse(t, g.Do("db", 1, ok), fence.StaleError{Name: "db", Token: 1, Highest: 2})
}

func TestTokenTravelsInTheHeaderAndReplacesAnOlderOne(t *testing.T) {
	for _, r := range []*http.Request{request("/db", "4", "5"), {}} {
		fence.SetHeader(r, 6)
		if got := r.Header.Values("Fencing-Token"); len(got) != 1 || got[0] != "6" {
			t.Errorf("%q", got)
		}
	}
}

func ExampleHandler() {
	var gate fence.Gate
	documents := map[string]string{}
	mux := http.NewServeMux()
	mux.Handle("PUT /documents/{id}", fence.Handler(&gate,
		func(r *http.Request) string { return r.PathValue("id") },
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			documents[r.PathValue("id")] = r.Header.Get(fence.Header) // nobody else is at this document
		})))
	server := httptest.NewServer(mux)
	defer server.Close()

	put := func(token fence.Token) {
		r, _ := http.NewRequest(http.MethodPut, server.URL+"/documents/7", nil)
		fence.SetHeader(r, token)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			fmt.Println(err)
			return
		}
		defer resp.Body.Close()
		fmt.Println(resp.Status)
	}
	put(101) // the first holder
	put(102) // the next one
	put(101) // the first, woken late
	fmt.Println("written by", documents["7"])
	// Output:
	// 200 OK
	// 200 OK
	// 409 Conflict
	// written by 102
}
