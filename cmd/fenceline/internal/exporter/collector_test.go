package exporter

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"

	"github.com/fenceline/fenceline/cron"
	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/fencetest"
	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/registry"
	"github.com/fenceline/fenceline/semaphore"
)

// looked is a collector after so many looks at etcd.
func looked(t *testing.T, etcd *fencetest.Etcd, f *flags, looks int, between func(look int)) *collector {
	t.Helper()
	c := newCollector(f.label)
	n := 0
	for look, err := range inspect.Follow(t.Context(), etcd.Client(t), 10*time.Second, f.options()...) {
		c.see(look, err)
		if n++; n == looks {
			break
		}
		between(n)
	}
	return c
}

// says compares the metrics of these names with what is wanted.
func says(t *testing.T, c *collector, want string) {
	t.Helper()
	var names, plain []string
	for _, line := range strings.Split(strings.TrimSpace(want), "\n") {
		line = "fenceline_" + strings.TrimSpace(line)
		plain = append(plain, line)
		names = append(names, regexp.MustCompile(`^\w+`).FindString(line))
	}
	got := map[string]bool{}
	out, err := testutil.CollectAndFormat(c, expfmt.TypeTextPlain, names...)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(out), "\n") {
		if line != "" && line[0] != '#' {
			got[line] = true
		}
	}
	for _, line := range plain {
		if !got[line] {
			t.Errorf("it lacks %s", line)
		}
		delete(got, line)
	}
	for line := range got {
		t.Errorf("it has %s", line)
	}
}

func TestMetricsSayWhoHoldsAndWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		hold := func(name string) *lock.Lock {
			t.Helper()
			l, err := lock.New(etcd.Session(t), name).Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		first := hold("nightly")
		time.Sleep(5 * time.Second)
		go lock.New(etcd.Session(t), "nightly").Acquire(t.Context())
		hold("other")
		if _, err := semaphore.New(etcd.Session(t), "up", 5).Acquire(t.Context(), 3); err != nil {
			t.Fatal(err)
		}
		term, err := election.New(etcd.Session(t), "reports").Campaign(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := registry.Register(t.Context(), etcd.Session(t), "web", registry.Instance{ID: "a", Addr: "10.0.0.1:80"}); err != nil {
			t.Fatal(err)
		}
		if _, err := etcd.Client(t).Put(t.Context(), "fenceline/lock/other/stranger", ""); err != nil {
			t.Fatal(err)
		}
		f := &flags{namespace: "fenceline/", services: "services/", names: []string{"night*", "up"}}
		c := looked(t, etcd, f, 2, func(int) {})
		says(t, c, `
			exporter_up 1
			held{kind="lock",name="nightly"} 1
			held{kind="lock",name=""} 1
			held{kind="semaphore",name="up"} 3
			held{kind="election",name=""} 1
			waiting{kind="lock",name="nightly"} 1
			waiting{kind="lock",name=""} 1
			waiting{kind="semaphore",name="up"} 0
			waiting{kind="election",name=""} 0
			limit{name="up"} 5
			oldest_hold_seconds{kind="lock",name="nightly"} 15
			oldest_hold_seconds{kind="lock",name=""} 10
			oldest_hold_seconds{kind="semaphore",name="up"} 10
			oldest_hold_seconds{kind="election",name=""} 10
			oldest_blocking_hold_seconds{kind="lock",name="nightly"} 15
			oldest_blocking_hold_seconds{kind="lock",name=""} 10
			oldest_blocking_hold_seconds{kind="semaphore",name="up"} 0
			oldest_blocking_hold_seconds{kind="election",name=""} 0
			leader{name="reports"} 1
			candidates{name="reports"} 0
			strangers 1
			registry_instances{service="web",status="up"} 1`)

		time.Sleep(time.Minute) // no look: ages go on
		says(t, c, `
			oldest_wait_seconds{kind="lock",name="nightly"} 70
			oldest_wait_seconds{kind="lock",name=""} 0
			oldest_wait_seconds{kind="semaphore",name="up"} 0
			oldest_wait_seconds{kind="election",name=""} 0`)

		c = looked(t, etcd, f, 2, func(int) {
			if err := term.Resign(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := first.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
			hold("another")
		})
		says(t, c, `
			leader{name="reports"} 0
			entries_come_total{kind="lock",name=""} 1
			entries_come_total{kind="lock",name="nightly"} 0
			entries_come_total{kind="semaphore",name="up"} 0
			entries_come_total{kind="election",name=""} 0
			entries_gone_total{kind="lock",name=""} 0
			entries_gone_total{kind="lock",name="nightly"} 1
			entries_gone_total{kind="semaphore",name="up"} 0
			entries_gone_total{kind="election",name=""} 1`)
	})
}

func TestMetricsSayWhatBecomesOfJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		jobs := cron.New(etcd.Session(t))
		for name, fails := range map[string]bool{"good": false, "bad": true} {
			if err := jobs.Add(name, "@every 10s", func(context.Context, cron.Tick) error {
				time.Sleep(2 * time.Second)
				if fails {
					return errors.New("no")
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- jobs.Run(ctx) }()
		time.Sleep(15 * time.Second)
		says(t, looked(t, etcd, &flags{namespace: "fenceline/"}, 1, nil), `
			cron_last_run_success{cronjob="good"} 1
			cron_last_run_success{cronjob="bad"} 0
			cron_last_run_seconds{cronjob="good"} 2
			cron_last_run_seconds{cronjob="bad"} 2
			cron_ready{cronjob="good"} 1
			cron_ready{cronjob="bad"} 1
			cron_running{cronjob="good"} 0
			cron_running{cronjob="bad"} 0
			cron_overdue{cronjob="good"} 0
			cron_overdue{cronjob="bad"} 0
			cron_paused{cronjob="good"} 0
			cron_paused{cronjob="bad"} 0
			cron_last_run_timestamp_seconds{cronjob="good"} 9.4668481e+08
			cron_last_run_timestamp_seconds{cronjob="bad"} 9.4668481e+08
			cron_next_timestamp_seconds{cronjob="good"} 9.4668482e+08
			cron_next_timestamp_seconds{cronjob="bad"} 9.4668482e+08`)
		cancel()
		<-done
	})
}

func TestLookThatFailsIsToldAndTheLastOneStays(t *testing.T) {
	c := newCollector((&flags{}).label)
	says(t, c, "exporter_up 0")
	c.see(&inspect.Traffic{Snapshot: &inspect.Snapshot{Revision: 7}}, nil)
	c.see(nil, errors.New("away"))
	says(t, c, "exporter_up 0\nexporter_revision 7")
}

func TestNamesWithSeriesOfTheirOwnAreBounded(t *testing.T) {
	c := newCollector((&flags{names: []string{"*"}}).label)
	look := &inspect.Traffic{Snapshot: &inspect.Snapshot{}}
	for i := range 3 * mostNames {
		l := &inspect.Line{Kind: "lock", Name: strings.Repeat("x", i+1)}
		look.Snapshot.Lines = append(look.Snapshot.Lines, l)
		look.Lines = append(look.Lines, &inspect.LineTraffic{Line: l, Come: 1})
	}
	c.see(look, nil)
	if n := testutil.CollectAndCount(c, "fenceline_entries_come_total"); n > mostNames+1 {
		t.Errorf("%d series", n)
	}
}

func TestMetricsAreAsPrometheusWantsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		if _, err := election.New(etcd.Session(t), "x").Campaign(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		problems, err := testutil.CollectAndLint(looked(t, etcd, &flags{namespace: "fenceline/"}, 1, nil))
		if err != nil || len(problems) > 0 {
			t.Errorf("%v, %v", problems, err)
		}
	})
}

const deployed = "../../../../deploy/prometheus/"

var record = flag.Bool("record", false, "write deploy/prometheus/recorded/exporter.txt, which the rules' and the pages' queries are tried on")

// The queries of the rules and of Grafana's page are tried on this file, by the tests of metrics/prom.
func TestRecordedScrapeHasAllMetrics(t *testing.T) {
	const recorded = deployed + "recorded/exporter.txt"
	if *record {
		synctest.Test(t, func(t *testing.T) {
			if err := os.WriteFile(recorded, scrapeOfEverything(t), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
	text, err := os.ReadFile(recorded)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range everyDescriptor {
		name := regexp.MustCompile(`fqName: "(\w+)"`).FindStringSubmatch(d.String())[1]
		if !strings.Contains(string(text), "\n"+name+"{") && !strings.Contains(string(text), "\n"+name+" ") {
			t.Errorf("%s lacks %s: run this test with -record", recorded, name)
		}
	}
}

// scrapeOfEverything has each metric.
func scrapeOfEverything(t *testing.T) []byte {
	etcd := fencetest.Start(t)
	s, ctx := etcd.Session(t), t.Context()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := lock.New(s, "orders").Acquire(ctx)
	ok(err)
	_, err = election.New(s, "reports").Campaign(ctx, "")
	ok(err)
	_, err = semaphore.New(s, "downloads", 3).Acquire(ctx, 2)
	ok(err)
	_, err = registry.Register(ctx, s, "web", registry.Instance{Addr: "10.0.0.1:80"})
	ok(err)
	jobs := cron.New(s)
	ok(jobs.Add("nightly", "@every 5s", func(context.Context, cron.Tick) error { return nil }))
	go func() { _ = jobs.Run(ctx) }()
	c := looked(t, etcd, &flags{namespace: "fenceline/", services: "services/", names: []string{"*"}}, 3, func(int) {})
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	ok(err)
	var out bytes.Buffer
	for _, f := range families {
		_, err := expfmt.MetricFamilyToText(&out, f)
		ok(err)
	}
	return out.Bytes()
}

func TestRulesFireInTheirSituations(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed: it comes with Prometheus")
	}
	cmd := exec.Command(promtool, "test", "rules", "alerts_test.yml")
	cmd.Dir = deployed
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
