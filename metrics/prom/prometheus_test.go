package prom_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/metrics/prom"
	"github.com/fenceline/fenceline/session"
)

// served has a Session's metrics served.
func served(t testing.TB, s *session.Session) *httptest.Server {
	t.Helper()
	c, err := prom.NewCollector(s)
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	server := httptest.NewServer(promhttp.HandlerFor(reg, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	t.Cleanup(server.Close)
	return server
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A real Prometheus scrapes, in the protocol of native histograms, and is asked for both kinds of buckets.
func TestPrometheusScrapesClassicAndNativeHistograms(t *testing.T) {
	binary, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("prometheus is not installed")
	}
	s, err := session.Open(t.Context(), etcdtest.Shared(t).Client(t), session.WithMetrics(func(_, name string) string { return "mine" }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	for range 10 {
		l, err := lock.New(s, etcdtest.Name(t)).Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}

	target, err := url.Parse(served(t, s).URL)
	if err != nil {
		t.Fatal(err)
	}
	for mode, queries := range map[string]map[string]float64{
		"": {
			`fenceline_acquire_wait_seconds_count{kind="lock",name="mine",outcome="granted",path="free"}`: 10,
			`fenceline_acquire_wait_seconds_bucket{kind="lock",outcome="granted",path="free",le="+Inf"}`:  10,
			`fenceline_session_state{state="live"}`:                                                       1,
			`fenceline_session_ttl_seconds`:                                                               15,
		},
		"--enable-feature=native-histograms": {
			`histogram_count(fenceline_acquire_wait_seconds{kind="lock",name="mine",outcome="granted",path="free"})`: 10,
			`histogram_quantile(0.5, fenceline_hold_seconds{kind="lock",end="released"}) < bool 10`:                  1,
			`histogram_count(fenceline_hold_seconds{kind="lock",end="lost"})`:                                        0,
		},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			listen := startPrometheus(t, binary, target.Host, mode)
			for query, want := range queries {
				etcdtest.Eventually(t, 30*time.Second, query, func() bool { return ask(t, listen, query) == want })
			}
		})
	}
}

func startPrometheus(t *testing.T, binary, target string, args ...string) (listen string) {
	t.Helper()
	dir := t.TempDir()
	listen = freeAddress(t)
	config := fmt.Sprintf("global: {scrape_interval: 1s}\nscrape_configs:\n  - {job_name: test, static_configs: [{targets: [%q]}]}\n", target)
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	args = append([]string{"--config.file=" + file, "--storage.tsdb.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + listen}, args...)
	cmd := exec.Command(binary, slices.DeleteFunc(args, func(arg string) bool { return arg == "" })...)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("prometheus said:\n%s", said.String())
		}
	})
	return listen
}

// ask is the first value that a query gives; -1: none.
func ask(t *testing.T, listen, query string) float64 {
	t.Helper()
	resp, err := http.Get("http://" + listen + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		return -1
	}
	defer resp.Body.Close()
	var answer struct {
		Data struct {
			Result []struct {
				Value [2]any
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || len(answer.Data.Result) == 0 {
		return -1
	}
	text, _ := answer.Data.Result[0].Value[1].(string)
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return -1
	}
	return v
}

// What a scrape costs a process that holds 10 000 locks, and 1 000.
func BenchmarkScrape(b *testing.B) {
	for _, held := range []int{1000, 10_000} {
		b.Run(strconv.Itoa(held), func(b *testing.B) {
			s, err := session.Open(b.Context(), etcdtest.Shared(b).Client(b), session.WithMetrics(nil))
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { s.Close(context.Background()) })
			for i := range held {
				if _, err := lock.New(s, etcdtest.Name(b)+strconv.Itoa(i)).Acquire(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			server := served(b, s)
			for b.Loop() {
				resp, err := http.Get(server.URL)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
					b.Fatal(resp.Status, err)
				}
				resp.Body.Close()
			}
		})
	}
}
