package cli

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/workload/registry"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

func TestBenchRegistryMeasuresBothSubjectsAndLeavesNothing(t *testing.T) {
	m := etcdtest.Start(t)
	b := startBench(t, "registry", "--endpoints="+m.Endpoint(), "--contenders=2", "--rounds=1", "--duration=300ms", "--watchers=3", "--times=2", "--kills=1",
		"--kill-ttl=2s", "--instances=23", "--services=5", "--registrations=7", "-o=json")
	if code := b.end(); code != 0 {
		t.Errorf("code %d", code)
	}
	var r bench.Result
	if err := json.Unmarshal(b.stdout.Bytes(), &r); err != nil {
		t.Fatalf("%v in %q", err, b.stdout.String())
	}
	if len(r.Cells) != 1 || r.Cells[0].Subjects[0].Acquisitions == 0 || r.Cells[0].Subjects[1].Acquisitions == 0 {
		t.Errorf("turns %+v", r.Cells)
	}
	counts := map[string]int{registry.Seen: 6, registry.Gone: 6, registry.Resolved: 2, registry.Killed: 1, registry.Read: 300, registry.Local: 200_000, registry.FirstLoad: 1,
		registry.Memory: 23, registry.Change: 100, registry.Renewals: 7, registry.OtherCost: 7}
	for measure, count := range counts {
		rows := find(&r, measure)
		for _, subject := range []string{"fenceline", "etcd"} {
			row := rows[subject]
			if row.Count != count {
				t.Errorf("%s of %s: %+v", measure, subject, rows)
			}
			if measure == registry.Killed && (row.Max < time.Second || row.Max > 10*time.Second) {
				t.Errorf("killed with a TTL of 2s: %+v", row)
			}
		}
	}
	client := m.Client(t)
	if keys, leases := etcdtest.Keys(t, client, ""), etcdtest.Leases(t, client); len(keys)+len(leases) > 0 {
		t.Errorf("stay in etcd: %q, leases %v", keys, leases)
	}
}
