package barrier

import (
	"context"
	"errors"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func config(m *etcdtest.Member, parties int, names ...string) Config {
	cfg := Defaults()
	cfg.Etcd = clientv3.Config{Endpoints: []string{m.Endpoint()}, Logger: zap.NewNop()}
	cfg.Subjects, cfg.Parties, cfg.Rounds = names, []int{parties}, 3
	return cfg
}

func nothingIsLeft(t *testing.T, m *etcdtest.Member) {
	t.Helper()
	client := m.Client(t)
	if keys, leases := etcdtest.Keys(t, client, ""), etcdtest.Leases(t, client); len(keys)+len(leases) > 0 {
		t.Errorf("left behind: leases %v, keys %q", leases, keys)
	}
}

func TestEachSubjectIsMeasuredForEachRoundAndNothingIsLeft(t *testing.T) {
	m := etcdtest.Start(t)
	r, err := Run(t.Context(), config(m, 3, "fenceline", "etcd"))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Rows) != 2 || r.Rows[0].Subject != "fenceline" || r.Rows[1].Subject != "etcd" {
		t.Fatalf("%+v", r.Rows)
	}
	for _, row := range r.Rows {
		if row.Rounds != 3 || len(row.Enter.All) != 3 || row.Enter.Median <= 0 || row.Leave.Median <= 0 || row.Both.Max < row.Enter.Median {
			t.Errorf("%+v", row)
		}
		if share := row.Share(row.Cost.Proposals); share < 2 || share > 5 { // in and out again, at least
			t.Errorf("%s: %.2f proposals for each party and round", row.Subject, share)
		}
	}
	nothingIsLeft(t, m)
}

// double is a subject whose enter is another one's.
type double struct {
	party
	doEnter func(ctx context.Context) error
}

func (d double) enter(ctx context.Context) error { return d.doEnter(ctx) }
func (d double) leave(context.Context) error     { return nil }

func withEnter(t *testing.T, of string, enter func(ctx context.Context) error) (name string) {
	join := subjects[of]
	subjects["double"] = func(ctx context.Context, client *clientv3.Client, prefix string, n int) (party, error) {
		p, err := join(ctx, client, prefix, n)
		return double{p, enter}, err
	}
	t.Cleanup(func() { delete(subjects, "double") })
	return "double"
}

func TestWhoLetsPartiesThroughEarlyIsFound(t *testing.T) {
	m := etcdtest.Start(t)
	quick := withEnter(t, "fenceline", func(ctx context.Context) error {
		sleep(ctx, lateBy/10) // as a request to etcd takes: by then, who comes in time has come
		return nil
	})
	_, err := Run(t.Context(), config(m, 3, quick))
	var unsafe *SafetyError
	if !errors.As(err, &unsafe) || unsafe.Early != 2 || !strings.Contains(err.Error(), "2 of 3 parties were through before all had come") {
		t.Errorf("%v", err)
	}
	nothingIsLeft(t, m)
}

func TestPartyThatFailsEndsTheWaitOfTheOthers(t *testing.T) {
	for _, of := range []string{"fenceline", "etcd"} {
		m := etcdtest.Start(t)
		cfg, full := config(m, 2, withEnter(t, of, nil)), errors.New("no room")
		join := subjects["double"]
		first := make(chan bool, 1)
		first <- true
		subjects["double"] = func(ctx context.Context, client *clientv3.Client, prefix string, n int) (party, error) {
			p, err := join(ctx, client, prefix, n)
			select {
			case <-first:
				return double{p, func(context.Context) error { return full }}, err
			default:
				return p.(double).party, err // waits for ever
			}
		}
		if _, err := Run(t.Context(), cfg); !errors.Is(err, full) {
			t.Errorf("%s: %v", of, err)
		}
		nothingIsLeft(t, m)
	}
}

func TestInterruptedRunEndsAndLeavesNothing(t *testing.T) {
	for _, of := range []string{"fenceline", "etcd"} {
		m, interrupted := etcdtest.Start(t), errors.New("interrupted")
		ctx, cancel := context.WithCancelCause(t.Context())
		cfg := config(m, 2, withEnter(t, of, func(ctx context.Context) error {
			cancel(interrupted)
			<-ctx.Done()
			return context.Cause(ctx)
		}))
		if r, err := Run(ctx, cfg); !errors.Is(err, interrupted) || r == nil {
			t.Errorf("%s: %v", of, err)
		}
		nothingIsLeft(t, m)
	}
}

func TestWrongSettingsAreRefused(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"no subject":                  func(c *Config) { c.Subjects = nil },
		`subject is "zk"`:             func(c *Config) { c.Subjects = []string{"zk"} },
		`subject "etcd" is there tw`:  func(c *Config) { c.Subjects = []string{"etcd", "etcd"} },
		"no number of parties":        func(c *Config) { c.Parties = nil },
		"parties is 0, want 1 to":     func(c *Config) { c.Parties = []int{8, 0} },
		"parties is 1001, want 1 to":  func(c *Config) { c.Parties = []int{1001} },
		"rounds is 0, want at least ": func(c *Config) { c.Rounds = 0 },
	} {
		cfg := Defaults()
		change(&cfg)
		if _, err := Run(t.Context(), cfg); !errors.Is(err, bench.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
