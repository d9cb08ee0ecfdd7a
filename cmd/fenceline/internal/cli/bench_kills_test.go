package cli

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/takeover"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

// find answers the rows of a measure, by subject.
func find(r *bench.Result, measure string) map[string]bench.Row {
	rows := map[string]bench.Row{}
	for _, row := range r.Probes {
		if row.Measure == measure {
			rows[row.Subject] = row
		}
	}
	return rows
}

func TestBenchKillsProcessesOfItsOwnExecutable(t *testing.T) {
	tmp := withoutEndpoints(t)
	t.Setenv("FENCELINE_CACERT", "/nonexistent") // is for clusters that are named
	b := startBench(t, "elect", "--contenders=2", "--rounds=1", "--duration=300ms", "--kills=2", "--kill-ttl=2s", "-o=json")
	etcd := b.ownEtcd(t)
	if code := b.end(); code != 0 {
		t.Errorf("code %d", code)
	}
	var r bench.Result
	if err := json.Unmarshal(b.stdout.Bytes(), &r); err != nil {
		t.Fatalf("%v in %q", err, b.stdout.String())
	}
	killed := find(&r, takeover.Killed)
	if len(killed) != 3 || killed[takeover.Watched].Count != 2 || killed["fenceline"].Count != 2 || killed["etcd"].Median < time.Second || len(r.Cells) != 1 || r.Cells[0].Workload != "elect" {
		t.Errorf("got %+v", r)
	}
	if !refuses(etcd)() {
		t.Error("its etcd goes on")
	}
	if left, _ := os.ReadDir(tmp); len(left) > 0 {
		t.Errorf("files stay: %v", left)
	}
}

func TestBenchReachesItsClusterWithTLSAlsoForItsProcesses(t *testing.T) {
	server := etcdtest.Start(t, etcdtest.WithTLS())
	b := startBench(t, "--endpoints="+server.Endpoint(), "--cacert="+server.CACert(), "--contenders=2", "--rounds=1", "--duration=300ms", "--kills=1", "--kill-ttl=2s")
	if code := b.end(); code != 0 {
		t.Errorf("code %d", code)
	}
	for _, want := range []string{takeover.Killed, "TTL 2s", "fenceline", "etcd", "a put"} {
		if !strings.Contains(b.stdout.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.stdout.String())
		}
	}
}

func TestBenchKillsTheLeaderOfAClusterOfItsOwn(t *testing.T) {
	tmp := withoutEndpoints(t)
	b := startBench(t, "elect", "--subjects=fenceline", "--contenders=2", "--rounds=1", "--duration=300ms", "--members=3", "--etcd-kills=1", "--kill-ttl=4s", "-o=json")
	if code := b.end(); code != 0 {
		t.Errorf("code %d", code)
	}
	var r bench.Result
	err := json.Unmarshal(b.stdout.Bytes(), &r)
	if row := find(&r, takeover.KilledWithEtcd)["fenceline"]; err != nil || row.Count != 1 || !strings.Contains(row.Remark, "gave 1 of 1 leases their time again") {
		t.Errorf("%v: %s", err, b.stdout.String())
	}
	if left, _ := os.ReadDir(tmp); len(left) > 0 {
		t.Errorf("files stay: %v", left)
	}
}
