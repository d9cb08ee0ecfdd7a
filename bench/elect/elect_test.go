package elect_test

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

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/elect"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

// candidateOf names the endpoints, in a process that is a candidate and not a test.
const candidateOf = "ELECT_TEST_CANDIDATE_OF"

func etcdAt(endpoints ...string) clientv3.Config {
	return clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()}
}

func TestMain(m *testing.M) {
	if at := os.Getenv(candidateOf); at != "" {
		if err := elect.Serve(context.Background(), etcdAt(strings.Split(at, ",")...), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func config(t *testing.T, endpoints ...string) elect.Config {
	cfg := elect.Defaults()
	cfg.Etcd = etcdAt(endpoints...)
	cfg.Prefix = etcdtest.Name(t) + "/"
	cfg.Command = func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), candidateOf+"="+strings.Join(endpoints, ","))
		return cmd
	}
	return cfg
}

func run(t *testing.T, cfg elect.Config) *elect.Result {
	t.Helper()
	r, err := elect.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Rows) != 2 || r.Rows[0].Subject != "fenceline" || r.Rows[1].Subject != "etcd" {
		t.Fatalf("rows %+v, want one for each subject", r.Rows)
	}
	return r
}

func TestResignationsAreMeasuredBesidePuts(t *testing.T) {
	cfg := config(t, etcdtest.Shared(t).Endpoint())
	cfg.Resigns, cfg.Kills = 5, 0
	r := run(t, cfg)
	for _, row := range r.Rows {
		if row.End != elect.Resign || len(row.All) != 5 || row.Median <= 0 || row.Max < row.Median || row.Max > 5*time.Second {
			t.Errorf("got %+v", row)
		}
	}
	if r.Put == nil || len(r.Put.All) != 10 || r.Put.Median <= 0 {
		t.Errorf("puts %+v, want one for each take-over", r.Put)
	}
}

// A lease that was given back would end the term at once. One that was not lives for at least two thirds of its TTL.
func TestKilledLeaderLeavesItsLeaseToEtcd(t *testing.T) {
	cfg := config(t, etcdtest.Shared(t).Endpoint())
	cfg.Resigns, cfg.Kills = 0, 2
	for _, row := range run(t, cfg).Rows {
		if row.End != elect.Kill || len(row.All) != 2 {
			t.Errorf("got %+v", row)
		}
		for _, took := range row.All {
			if took < row.TTL/2 {
				t.Errorf("%s: somebody led %v after the kill, with a TTL of %v", row.Subject, took, row.TTL)
			}
		}
	}
}

func TestNothingOfARunStays(t *testing.T) {
	server := etcdtest.Start(t)
	cfg := config(t, server.Endpoint())
	cfg.Resigns, cfg.Kills = 2, 0
	run(t, cfg)
	client := server.Client(t)
	if keys, leases := etcdtest.Keys(t, client, ""), etcdtest.Leases(t, client); len(keys)+len(leases) > 0 {
		t.Errorf("stay in etcd: %q, leases %v", keys, leases)
	}
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
	cfg := config(t, cluster.Endpoints()...)
	cfg.Resigns, cfg.Kills, cfg.EtcdKills = 0, 0, 1
	cfg.TTLs = []time.Duration{4 * time.Second}
	cfg.Cluster = &killable{T: t, Cluster: cluster}
	for _, row := range run(t, cfg).Rows {
		// Half a TTL, then all of it again.
		if row.End != elect.KillAndEtcd || row.Reset == nil || *row.Reset != 1 || row.Median < 6*time.Second || row.Late != 1 {
			t.Errorf("got %+v", row)
		}
	}
}

func TestInterruptedRunAnswersWhatItHas(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	server := etcdtest.Shared(t)
	cfg := config(t, server.Endpoint())
	cfg.Resigns = 1 << 30
	reason := errors.New("enough")
	puts := server.Client(t).Watch(t.Context(), cfg.Prefix, clientv3.WithPrefix())
	go func() {
		for r := range puts {
			for _, e := range r.Events {
				if strings.HasSuffix(string(e.Kv.Key), "/put") && e.Kv.Version >= 4 { // both have been measured
					cancel(reason)
				}
			}
		}
	}()
	r, err := elect.Run(ctx, cfg)
	if !errors.Is(err, reason) || r == nil || len(r.Rows) != 2 || r.Put == nil || len(r.Put.All) < 3 {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestTermThatEndsByItselfIsCountedAndNotMeasured(t *testing.T) {
	server := etcdtest.Shared(t)
	client := server.Client(t)
	cfg := config(t, server.Endpoint())
	cfg.Subjects, cfg.Candidates = []string{"fenceline"}, 8
	cfg.Resigns, cfg.Kills = 0, 1
	revoked := make(chan error, 1)
	cfg.Talk = func(string) {
		go func() { revoked <- revokeFirst(t.Context(), client, cfg.Prefix) }()
	}
	r, err := elect.Run(t.Context(), cfg)
	if err := errors.Join(err, <-revoked); err != nil {
		t.Fatal(err)
	}
	if row := r.Rows[0]; row.Unasked != 1 || len(row.All) != 1 || row.Median < row.TTL/2 {
		t.Errorf("got %+v", row)
	}
}

// revokeFirst ends the first term as soon as there is somebody to be next; others are on their way.
func revokeFirst(ctx context.Context, client *clientv3.Client, prefix string) error {
	var entries []*mvccpb.KeyValue
	for r := range client.Watch(ctx, prefix, clientv3.WithPrefix()) {
		for _, e := range r.Events {
			if strings.Contains(string(e.Kv.Key), "/election/leader/") {
				entries = append(entries, e.Kv)
			}
		}
		if len(entries) >= 2 {
			_, err := client.Revoke(ctx, clientv3.LeaseID(entries[0].Lease))
			return err
		}
	}
	return ctx.Err()
}

func TestCandidateThatFailsEndsTheRunWithItsReason(t *testing.T) {
	cfg := config(t, etcdtest.Shared(t).Endpoint())
	cfg.Command = func() *exec.Cmd { return exec.Command("sh", "-c", "echo no luck >&2; exit 3") }
	r, err := elect.Run(t.Context(), cfg)
	if err == nil || !strings.Contains(err.Error(), "no luck") || len(r.Rows) > 0 {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestUnreachableEtcdIsSaid(t *testing.T) {
	cfg := config(t, "127.0.0.1:1")
	if _, err := elect.Run(t.Context(), cfg); !errors.Is(err, bench.ErrUnreachable) {
		t.Errorf("got %v", err)
	}
}

func TestCandidatesLogInAsTheRunDoes(t *testing.T) {
	server := etcdtest.Start(t)
	client := server.Client(t)
	ctx := t.Context()
	_, added := client.UserAdd(ctx, "root", "secret")
	_, granted := client.UserGrantRole(ctx, "root", "root")
	_, enabled := client.AuthEnable(ctx)
	if err := errors.Join(added, granted, enabled); err != nil {
		t.Fatal(err)
	}
	cfg := config(t, server.Endpoint())
	cfg.Etcd.Username, cfg.Etcd.Password = "root", "secret"
	cfg.Resigns, cfg.Kills = 1, 0
	run(t, cfg)
}
