package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

func TestWaitIsSilentWhereNobodySits(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	release := hold(t, m, name)
	silent := started(t, m.Endpoint(), "lock", name, "true")
	entries(t, m.Client(t), name, 2)
	verbose := started(t, m.Endpoint(), "lock", "--verbose", name, "true")
	etcdtest.Eventually(t, 20*time.Second, "the one that is to speak does", func() bool {
		return strings.Contains(verbose.stderr(), `": waiting: 2 ahead, held by sh on host `)
	})
	release()
	silent.exits(0)
	verbose.exits(0)
	verbose.says("acquired after ")
	if said := silent.stderr(); said != "" {
		t.Errorf("the other said %q", said)
	}
}

func TestRefusalsSayWhoIsInTheWay(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	release := hold(t, m, name)
	units := holdUnits(t, m, name, "--limit", "1")
	started(t, m.Endpoint(), "gate", "close", name).exits(0)
	set := started(t, m.Endpoint(), "lock", name+"-set", name, "--", "true") // holds its place in the first
	entries(t, m.Client(t), name+"-set", 1)
	for _, c := range []struct {
		says string
		args []string
	}{
		{`lock "` + name + `": held by sh on host `, []string{"lock", "-n", name, "true"}},
		{`not free within 200ms: held by sh on host `, []string{"lock", "-w", "0.2", name, "true"}},
		{`not free within 1s: held by sh on host `, []string{"lock", "-w", "1", name, "true"}},
		{`see --max-waiters 1: held by sh on host `, []string{"lock", "--max-waiters", "1", name, "true"}},
		{`somebody else holds one of them: "` + name + `": held by sh on host `, []string{"lock", "-n", name + "-b", name, "--", "true"}},
		{`not free within 1s: "` + name + `": held by sh on host `, []string{"lock", "-w", "1", name + "-b", name, "--", "true"}},
		{`": true on host `, []string{"lock", "-n", name + "-set", "true"}},
		{`is ahead, and waits for "` + name + `"`, []string{"lock", "-w", "1", name + "-set", "true"}},
		{`others wait for one: held by sh on host `, []string{"sem", "-n", name, "true"}},
		{`1 of 1 units are held or waited for, held by sh on host `, []string{"sem", "-w", "0.2", name, "true"}},
		{`it is not open: closed by fenceline on host `, []string{"gate", "wait", "-w", "0", name}},
		{`not open within 200ms: closed by fenceline on host `, []string{"gate", "wait", "-w", "0.2", name}},
		{`not open within 200ms: 4 of 4 left`, []string{"latch", name, "wait", "-w", "0.2", "--count", "4"}},
		{`not full within 200ms: 1 of 4 are here`, []string{"barrier", name, "-w", "0.2", "--parties", "4", "--", "true"}},
	} {
		w := started(t, m.Endpoint(), c.args...)
		w.exits(1)
		w.says(c.says)
		if n := strings.Count(w.stderr(), "\n"); n != 1 {
			t.Errorf("%q says %d lines: %s", c.args, n, w.stderr())
		}
	}
	release()
	units()
	set.exits(0)
	started(t, m.Endpoint(), "gate", "open", name).exits(0)
}
