package takeover_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/takeover"
	"github.com/fenceline/fenceline/bench/workload"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/internal/witness"
)

// contenderOf names the endpoints, in a process that is a contender and not a test.
const contenderOf = "TAKEOVER_TEST_CONTENDER_OF"

func etcdAt(endpoints ...string) clientv3.Config {
	return clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()}
}

func TestMain(m *testing.M) {
	if at := os.Getenv(contenderOf); at != "" {
		if err := workload.Serve(context.Background(), takeover.Role, nil, etcdAt(strings.Split(at, ",")...), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// config is a run of nothing but p.
func config(t *testing.T, w bench.Workload, p *takeover.Probe, endpoints ...string) bench.Config {
	t.Helper()
	cfg := bench.Defaults()
	cfg.Etcd = etcdAt(endpoints...)
	var err error
	if cfg.Subjects, err = w.Subjects.ByName(w.Versus...); err != nil {
		t.Fatal(err)
	}
	cfg.Cells = nil
	p.Workload = w.Name
	if p.TTLs == nil {
		p.TTLs = []time.Duration{2 * time.Second}
	}
	cfg.Probes = []bench.Probe{p}
	cfg.Command = func(role string) *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), contenderOf+"="+strings.Join(endpoints, ","))
		return cmd
	}
	return cfg
}

func run(t *testing.T, cfg bench.Config) []bench.Row {
	t.Helper()
	r, err := bench.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	rows := r.Probes
	if cfg.Subjects[0].Name() == "fenceline" && witness.Supported && rows[0].Measure == takeover.Killed {
		last := len(rows) - 1
		if row := rows[last]; row.Subject != takeover.Watched || row.Measure != takeover.Killed || row.Median > time.Second { // half the TTL is a second
			t.Errorf("with a witness: %+v", row)
		}
		rows = rows[:last]
	}
	if len(rows) != len(cfg.Subjects) {
		t.Fatalf("rows %+v, want one for each subject", rows)
	}
	return rows
}

func find(t *testing.T, name string) bench.Workload {
	t.Helper()
	for _, w := range workload.All() {
		if w.Name == name {
			return w
		}
	}
	t.Fatalf("no workload %q", name)
	return bench.Workload{}
}

// A lease that was given back would end the hold at once. One that was not lives for at least two thirds of its TTL.
func TestKilledHolderLeavesItsLeaseToEtcdInEveryWorkload(t *testing.T) {
	server := etcdtest.Start(t)
	for _, w := range workload.All() {
		if w.Exclusive == nil {
			continue
		}
		t.Run(w.Name, func(t *testing.T) {
			t.Parallel()
			for _, row := range run(t, config(t, w, &takeover.Probe{Kills: 2}, server.Endpoint())) {
				if row.Measure != takeover.Killed || row.Setting != "TTL 2s" || row.Count != 2 || row.Median < time.Second || row.Max > 10*time.Second {
					t.Errorf("got %+v", row)
				}
			}
		})
	}
	t.Cleanup(func() {
		client := server.Client(t)
		etcdtest.Eventually(t, 10*time.Second, "leases of the dead run out", func() bool { return len(etcdtest.Leases(t, client)) == 0 })
		if keys := etcdtest.Keys(t, client, ""); len(keys) > 0 {
			t.Errorf("stay in etcd: %q", keys)
		}
	})
}

// killable is a cluster of the test's.
type killable struct {
	*testing.T
	*etcdtest.Cluster
	dead *etcdtest.Member
}

func (k *killable) KillLeader(context.Context) error {
	k.dead = k.Leader(k.T)
	k.dead.Kill()
	return nil
}

func (k *killable) Restore(context.Context) error {
	k.dead.Restart(k.T)
	return nil
}

func TestNewLeaderOfEtcdGivesLeasesTheirTimeAgain(t *testing.T) {
	cluster := etcdtest.StartCluster(t, 3)
	p := &takeover.Probe{EtcdKills: 1, TTLs: []time.Duration{4 * time.Second}, Cluster: &killable{T: t, Cluster: cluster}}
	for _, row := range run(t, config(t, find(t, "elect"), p, cluster.Endpoints()...)) {
		// Half a TTL, then all of it again.
		if row.Measure != takeover.KilledWithEtcd || row.Count != 1 || row.Median < 6*time.Second ||
			row.Remark != "1 later than TTL + 1s; the new leader gave 1 of 1 leases their time again" {
			t.Errorf("got %+v", row)
		}
	}
}

func TestHoldThatEndsByItselfIsMeasuredAgainAndTold(t *testing.T) {
	cfg := config(t, find(t, "mutex"), &takeover.Probe{Kills: 1, TTLs: []time.Duration{6 * time.Second}}, etcdtest.Shared(t).Endpoint())
	cfg.Subjects = cfg.Subjects[1:2] // one pair at a time
	// The first pair only says its lines: the one that waits has held before anybody was killed. The second pair is as always.
	says := []string{
		`read spec; echo "holds $(date +%s%N) 1"; exec cat >/dev/null`,
		`read spec; at=$(date +%s%N); echo "waits $at 2"; echo "holds $at 2"; exec cat >/dev/null`,
	}
	contender := cfg.Command
	cfg.Command = func(role string) *exec.Cmd {
		if len(says) == 0 {
			return contender(role)
		}
		script := says[0]
		says = says[1:]
		return exec.Command("sh", "-c", script)
	}
	row := run(t, cfg)[0]
	if row.Remark != "1 ended by themselves, and were measured again" || row.Count != 1 || row.Median < 3*time.Second {
		t.Errorf("got %+v", row)
	}
}

func TestInterruptedRunAnswersWhatItHasAndLeavesNoProcess(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("enough")
	cfg := config(t, find(t, "mutex"), &takeover.Probe{Kills: 1, TTLs: []time.Duration{2 * time.Second, time.Hour}}, etcdtest.Shared(t).Endpoint())
	cfg.Progress.Probe = func(s bench.Step) {
		if strings.HasSuffix(s.Text, "TTL 1h0m0s") {
			cancel(reason)
		}
	}
	r, err := bench.Run(ctx, cfg)
	if !errors.Is(err, reason) || !r.Interrupted || len(r.Probes) != 2+map[bool]int{true: 1}[witness.Supported] {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestProcessThatFailsEndsTheRunWithItsReason(t *testing.T) {
	cfg := config(t, find(t, "mutex"), &takeover.Probe{Kills: 1}, etcdtest.Shared(t).Endpoint())
	cfg.Command = func(string) *exec.Cmd { return exec.Command("sh", "-c", "echo no luck >&2; exit 3") }
	r, err := bench.Run(t.Context(), cfg)
	if err == nil || !strings.Contains(err.Error(), "no luck") || len(r.Probes) > 0 {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestProcessesLogInAsTheRunDoes(t *testing.T) {
	server := etcdtest.Start(t)
	client := server.Client(t)
	ctx := t.Context()
	_, added := client.UserAdd(ctx, "root", "secret")
	_, granted := client.UserGrantRole(ctx, "root", "root")
	_, enabled := client.AuthEnable(ctx)
	if err := errors.Join(added, granted, enabled); err != nil {
		t.Fatal(err)
	}
	cfg := config(t, find(t, "mutex"), &takeover.Probe{Kills: 1}, server.Endpoint())
	cfg.Etcd.Username, cfg.Etcd.Password = "root", "secret"
	run(t, cfg)
}

func TestSubjectOfOneProcessIsNotMeasured(t *testing.T) {
	w := find(t, "mutex")
	cfg := config(t, w, &takeover.Probe{Kills: 1}, etcdtest.Shared(t).Endpoint())
	var err error
	if cfg.Subjects, err = w.Subjects.ByName("local"); err != nil {
		t.Fatal(err)
	}
	if r, err := bench.Run(t.Context(), cfg); err != nil || len(r.Probes) != 0 {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestBadKillsAreRefused(t *testing.T) {
	second := []time.Duration{2 * time.Second}
	for want, p := range map[string]*takeover.Probe{
		"kills is -1":           {Kills: -1, TTLs: second},
		"etcd-kills is -1":      {EtcdKills: -1, TTLs: second},
		"no cluster to kill":    {EtcdKills: 1, TTLs: second},
		"no ttl for kills":      {Kills: 1},
		"ttl for kills is 1s":   {Kills: 1, TTLs: []time.Duration{time.Second}},
		"ttl for kills is 2.5s": {Kills: 1, TTLs: []time.Duration{2500 * time.Millisecond}},
	} {
		if err := p.Validate(); !errors.Is(err, bench.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
