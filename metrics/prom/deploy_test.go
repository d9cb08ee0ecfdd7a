package prom_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"go.yaml.in/yaml/v2"

	"github.com/fenceline/fenceline/cron"
	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/fencetest"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/metrics/prom"
	"github.com/fenceline/fenceline/registry"
	"github.com/fenceline/fenceline/session"
)

const deployed = "../../deploy/"

var record = flag.Bool("record", false, "write deploy/prometheus/recorded/process.txt, which the rules' and the page's queries are tried on")

func TestRecordedScrapeHasAllMetrics(t *testing.T) {
	const recorded = deployed + "prometheus/recorded/process.txt"
	var known []string
	synctest.Test(t, func(t *testing.T) {
		reg := registryOfEverything(t)
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		for _, f := range families {
			known = append(known, f.GetName())
			if _, err := expfmt.MetricFamilyToText(&out, f); err != nil {
				t.Fatal(err)
			}
		}
		if *record {
			if err := os.WriteFile(recorded, out.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	})
	text, err := os.ReadFile(recorded)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range known {
		if !strings.Contains(string(text), "# TYPE "+name+" ") {
			t.Errorf("%s lacks %s: run this test with -record", recorded, name)
		}
	}
}

// registryOfEverything has each metric that a process has.
func registryOfEverything(t *testing.T) *prometheus.Registry {
	etcd := fencetest.Start(t)
	s, ctx := etcd.Session(t, session.WithMetrics(nil)), t.Context()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	l, err := lock.New(s, "orders").Acquire(ctx)
	ok(err)
	soon, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, err := lock.New(s, "orders").Acquire(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	ok(l.Release(ctx))
	other, err := lock.New(etcd.Session(t), "orders").Acquire(ctx)
	ok(err)
	time.AfterFunc(time.Second, func() { _ = other.Release(ctx) })
	_, err = lock.New(s, "orders").Acquire(ctx)
	ok(err)
	_, err = election.New(s, "reports").Campaign(ctx, "")
	ok(err)
	_, err = registry.Register(ctx, s, "web", registry.Instance{Addr: "10.0.0.1:80"})
	ok(err)
	jobs := cron.New(s)
	ok(jobs.Add("nightly", "@every 5s", func(context.Context, cron.Tick) error { return nil }))
	go func() { _ = jobs.Run(ctx) }()
	time.Sleep(20 * time.Second)
	d, err := registry.OpenDirectory(ctx, etcd.Client(t))
	ok(err)
	t.Cleanup(func() { _ = d.Close() })
	c, err := prom.NewCollector(s)
	ok(err)
	reg := prometheus.NewRegistry()
	reg.MustRegister(c, prom.NewDirectoryCollector(d))
	return reg
}

// queries are those of the rules and of Grafana's page, by where they stand.
func queries(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	rules, err := os.ReadFile(deployed + "prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(rules, &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			found[r.Alert] = r.Expr
		}
	}
	text, err := os.ReadFile(deployed + "grafana/fenceline.json")
	if err != nil {
		t.Fatal(err)
	}
	type query struct {
		Expr, RefID string
	}
	var page struct {
		Annotations struct{ List []query }
		Panels      []struct {
			Title   string
			Targets []query
		}
	}
	if err := json.Unmarshal(text, &page); err != nil {
		t.Fatal(err)
	}
	for _, p := range page.Panels {
		for _, q := range p.Targets {
			found["Grafana: "+p.Title+", "+q.RefID] = q.Expr
		}
	}
	for _, q := range page.Annotations.List {
		found["Grafana: annotation"] = q.Expr
	}
	return found
}

// The recorded scrapes are served to a real Prometheus; each query has to be understood, and each metric in it to be found.
func TestQueriesOfRulesAndOfThePageFindTheirMetrics(t *testing.T) {
	binary, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("prometheus is not installed")
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", string(expfmt.NewFormat(expfmt.TypeTextPlain)))
		for _, file := range []string{"exporter", "process"} {
			text, err := os.ReadFile(deployed + "prometheus/recorded/" + file + ".txt")
			if err != nil {
				t.Error(err)
			}
			for line := range strings.Lines(string(text)) {
				if file == "process" && regexp.MustCompile(`^(# \w+ )?fenceline_(held|waiting|leader|oldest_\w+|cron_running)\b`).MatchString(line) {
					continue // the exporter has it, too
				}
				fmt.Fprint(w, line)
			}
		}
	}))
	defer server.Close()
	target, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	listen := startPrometheus(t, binary, target.Host)
	etcdtest.Eventually(t, 30*time.Second, "a scrape", func() bool {
		return ask(t, listen, `count_over_time(up[1m]) >= 3`) >= 3 && ask(t, listen, "fenceline_exporter_up") == 1
	})
	all := queries(t)
	if len(all) < 40 {
		t.Errorf("only %d queries", len(all))
	}
	grafana := strings.NewReplacer("$__rate_interval", "1m", "$job", ".*", "$exporter", "test")
	for where, query := range all {
		query = grafana.Replace(query)
		resp, err := http.Get("http://" + listen + "/api/v1/query?query=" + url.QueryEscape(query))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s: %s", where, query, resp.Status)
		}
		metrics := regexp.MustCompile(`\b(fenceline|leader)_\w+`).FindAllString(query, -1)
		if len(metrics) == 0 {
			t.Errorf("%s: no metric in %s", where, query)
		}
		for _, m := range metrics {
			if ask(t, listen, "count("+m+")") < 1 {
				t.Errorf("%s: nothing is found of %s", where, m)
			}
		}
		comparison := regexp.MustCompile(`[<>=]=? *[\d.]+$|==|unless|<|\bor\b`).MatchString(query)
		if n := ask(t, listen, "count("+query+")"); !comparison && n < 1 && !strings.Contains(query, `outcome!="granted"`) {
			t.Errorf("%s: %s finds nothing", where, query)
		}
	}
}
