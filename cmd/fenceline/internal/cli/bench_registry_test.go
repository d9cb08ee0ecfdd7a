package cli

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/fenceline/fenceline/bench/registry"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

func TestBenchRegistryMeasuresBothSubjectsAndLeavesNothing(t *testing.T) {
	m := etcdtest.Start(t)
	b := startBench(t, "registry", "--endpoints="+m.Endpoint(), "--watchers=3", "--times=2", "--kills=1", "--ttl=2s", "--instances=23", "--services=5",
		"--registrations=7", "-o=json")
	if code := b.end(); code != 0 {
		t.Errorf("code %d", code)
	}
	var r registry.Result
	if err := json.Unmarshal(b.stdout.Bytes(), &r); err != nil {
		t.Fatalf("%v in %q", err, b.stdout.String())
	}
	counts := map[string]int{registry.Seen: 6, registry.Gone: 6, registry.Resolved: 2, registry.Killed: 1, registry.Read: 300, registry.Local: 200_000, registry.Load: 1,
		registry.Memory: 23, registry.Change: 100, registry.Renewals: 7, registry.OtherCost: 7}
	for measure, count := range counts {
		for _, subject := range []string{"fenceline", "etcd"} {
			i := slices.IndexFunc(r.Rows, func(row registry.Row) bool { return row.Measure == measure && row.Subject == subject })
			if i < 0 || r.Rows[i].Count != count {
				t.Errorf("%s of %s: %+v", measure, subject, r.Rows)
				continue
			}
			if row := r.Rows[i]; measure == registry.Killed && (row.Max < time.Second || row.Max > 10*time.Second) {
				t.Errorf("killed with a TTL of 2s: %+v", row)
			}
		}
	}
	client := m.Client(t)
	if keys, leases := etcdtest.Keys(t, client, ""), etcdtest.Leases(t, client); len(keys)+len(leases) > 0 {
		t.Errorf("stay in etcd: %q, leases %v", keys, leases)
	}
}
