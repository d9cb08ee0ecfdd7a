package workload_test

import (
	"context"
	"errors"
	"flag"
	"testing"
	"time"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/workload"
	"github.com/fenceline/fenceline/internal/etcdtest"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// config is a short run of what w measures by default, for one grid cell and with all its subjects.
func config(t *testing.T, w bench.Workload, cell bench.Cell) bench.Config {
	t.Helper()
	subjects, err := w.Subjects.ByName(w.Subjects.Names()...)
	if err != nil {
		t.Fatal(err)
	}
	cfg := bench.Defaults()
	cfg.Etcd = clientv3.Config{Endpoints: []string{etcdtest.Shared(t).Endpoint()}, Logger: zap.NewNop()}
	cfg.Subjects = subjects
	cfg.Cells = w.Flags(flag.NewFlagSet(w.Name, flag.ContinueOnError))([]bench.Cell{cell})
	cfg.Rounds = 1
	cfg.WarmUp = 10 * time.Millisecond
	cfg.Duration = 300 * time.Millisecond
	return cfg
}

func each(t *testing.T, test func(t *testing.T, w bench.Workload)) {
	for _, w := range workload.All() {
		t.Run(w.Name, func(t *testing.T) { test(t, w) })
	}
}

func leftovers(t *testing.T) {
	t.Helper()
	client := etcdtest.Shared(t).Client(t)
	if keys, leases := etcdtest.Keys(t, client, ""), etcdtest.Leases(t, client); len(keys)+len(leases) > 0 {
		t.Errorf("stay in etcd: %q, leases %v", keys, leases)
	}
}

func TestDefaultsAreValid(t *testing.T) {
	each(t, func(t *testing.T, w bench.Workload) {
		cfg := config(t, w, bench.Cell{Contenders: w.Contenders[0], Goroutines: 1})
		if err := cfg.Validate(); err != nil {
			t.Error(err)
		}
		if _, err := w.Subjects.ByName(w.Versus...); err != nil {
			t.Error(err)
		}
		for _, c := range append(cfg.Cells, w.Tour...) {
			if got := c.About().Workload; got != w.Name {
				t.Errorf("cell %v is of workload %q, want %q", c, got, w.Name)
			}
		}
		for _, name := range w.Subjects.Names() {
			if got := w.Subjects[name]().Name(); got != name {
				t.Errorf("subject %q calls itself %q", name, got)
			}
		}
	})
}

func TestEverySubjectExcludesAndEndsTidily(t *testing.T) {
	each(t, func(t *testing.T, w bench.Workload) {
		cfg := config(t, w, bench.Cell{Contenders: 3, Goroutines: 2, Hold: 100 * time.Microsecond})
		r, err := bench.Run(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range r.Cells {
			for _, s := range c.Subjects {
				if s.Errors > 0 || s.Acquire.P50 == 0 {
					t.Errorf("%s in cell %v: %+v", s.Subject, c.Cell, s.Measures)
				}
			}
		}
		leftovers(t)
	})
}

// Also those who wait without a context.
func TestInterruptedSubjectIsNotUnsafeAndEndsTidily(t *testing.T) {
	each(t, func(t *testing.T, w bench.Workload) {
		for _, s := range config(t, w, bench.Cell{Contenders: 3, Goroutines: 1}).Subjects {
			ctx, cancel := context.WithCancel(t.Context())
			cfg := config(t, w, bench.Cell{Contenders: 3, Goroutines: 1, Hold: time.Millisecond})
			cfg.Subjects, cfg.Duration = []bench.Subject{s}, time.Minute
			cfg.Progress.Tick = func(bench.Tick) { cancel() }
			r, err := bench.Run(ctx, cfg)
			if !r.Interrupted || !errors.Is(err, context.Canceled) {
				t.Errorf("%s: interrupted %v, %v", s.Name(), r.Interrupted, err)
			}
			leftovers(t)
		}
	})
}
