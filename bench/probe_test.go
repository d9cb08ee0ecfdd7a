package bench_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/internal/etcdtest"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// probe does what it is told.
type probe func(ctx context.Context, lab bench.Lab) error

func (probe) Validate() error                                { return nil }
func (probe) Estimate() time.Duration                        { return time.Second }
func (p probe) Run(ctx context.Context, lab bench.Lab) error { return p(ctx, lab) }

func TestRowsOfProbesAreInTheReportAndTheirKeysAreNot(t *testing.T) {
	client := etcdtest.Shared(t).Client(t)
	cfg := small(t, bench.Cell{Contenders: 1, Goroutines: 1}, newFake("a"), newFake("b"))
	seen := map[string]bool{}
	one := probe(func(ctx context.Context, lab bench.Lab) error {
		if strings.Join(lab.Subjects, " ") != "a b" || seen[lab.Prefix] {
			t.Errorf("lab %+v", lab)
		}
		seen[lab.Prefix] = true
		lab.Say("begins")
		lab.Add(bench.Value("weight", "a", 2, 1.5, "kg"))
		lab.Add(bench.Times("age", "b", []time.Duration{30, 10, 20}))
		_, err := client.Put(ctx, lab.Prefix+"left", "")
		return err
	})
	var said []string
	cfg.Probes, cfg.Progress.Probe = []bench.Probe{one, one}, func(s bench.Step) {
		if s.Left > 2*time.Second {
			t.Errorf("%v left of two probes of a second", s.Left)
		}
		said = append(said, s.Text)
	}
	if got, want := cfg.Estimate(), 2*(cfg.WarmUp+cfg.Duration)+2*time.Second; got != want {
		t.Errorf("estimate %v, want %v", got, want)
	}
	r := run(t, cfg)
	if len(r.Probes) != 4 || r.Probes[2] != (bench.Row{Measure: "weight", Subject: "a", Count: 2, Value: 1.5, Unit: "kg"}) ||
		r.Probes[1] != (bench.Row{Measure: "age", Subject: "b", Count: 3, Median: 20, P99: 30, Max: 30}) {
		t.Errorf("rows %+v", r.Probes)
	}
	if len(said) != 2 {
		t.Errorf("said %q", said)
	}
	if keys := etcdtest.Keys(t, client, "fenceline-bench/"); len(keys) > 0 {
		t.Errorf("keys stay: %q", keys)
	}
	if r.Environment.Put == nil || r.Environment.Put.Count < 10 || r.Environment.Put.P50 <= 0 {
		t.Errorf("plain puts: %+v", r.Environment.Put)
	}
}

func TestProbeThatIsInterruptedKeepsItsRows(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("enough")
	cfg := small(t, bench.Cell{}, newFake("a"))
	cfg.Cells = nil // probes alone are a run
	cfg.Probes = []bench.Probe{probe(func(ctx context.Context, lab bench.Lab) error {
		lab.Add(bench.Value("weight", "a", 1, 1, "kg"))
		cancel(reason)
		return ctx.Err()
	})}
	r, err := bench.Run(ctx, cfg)
	if !errors.Is(err, reason) || !r.Interrupted || len(r.Probes) != 1 {
		t.Errorf("%v, %+v", err, r)
	}
}

// A real etcd tells what it does; this one does not wait for its disk.
func TestServersOwnMetricsAreInTheMeasures(t *testing.T) {
	client := etcdtest.Shared(t).Client(t)
	writer := newFake("writer")
	key := "fenceline-bench/" + etcdtest.Name(t)
	writer.lock = func(ctx context.Context) error { return put(ctx, client, key) }
	writer.unlock = func(ctx context.Context) error { _, err := client.Delete(ctx, key); return err }
	m := run(t, small(t, bench.Cell{Contenders: 1, Goroutines: 1}, writer)).Cells[0].Subjects[0]
	if m.Server == nil || m.Server.Members != 1 || m.Server.Proposals < m.Acquisitions || m.Server.CPU < 0 || m.Server.Memory < 1<<20 {
		t.Errorf("%d acquisitions, %+v", m.Acquisitions, m.Server)
	}
	if m.Client.CPU <= 0 || m.Client.Allocated <= 0 || m.Client.Heap <= 0 || m.PerAcquisition.CPU <= 0 {
		t.Errorf("client %+v", m.Client)
	}
}

func put(ctx context.Context, client *clientv3.Client, key string) error {
	_, err := client.Put(ctx, key, "")
	return err
}
