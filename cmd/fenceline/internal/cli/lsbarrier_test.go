package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

// states lists a kind: the state and the process of each entry.
func states(t *testing.T, m *etcdtest.Member, kind, name string) string {
	t.Helper()
	code, stdout, stderr := fenceline("--endpoints", m.Endpoint(), "ls", kind, name, "-o", "json")
	var found inspect.Snapshot
	if err := json.Unmarshal([]byte(stdout), &found); err != nil || code != 0 {
		t.Fatalf("code %d, %v, %s", code, err, stderr)
	}
	var all []string
	for _, l := range found.Lines {
		for _, e := range l.Entries {
			who := "-"
			if e.Session != nil {
				who = e.Session.Name
			}
			all = append(all, e.State+" "+who)
		}
	}
	return strings.Join(all, ", ")
}

func TestLsShowsWhoWaitsAtABarrierAndWhoIsInside(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	in, end := pipe(t)
	party := func() *wrapper {
		return startedWith(t, m.Endpoint(), in, "barrier", name, "--parties", "2", "--", "sh", "-c", "echo > $D/in; cat")
	}
	first := party()
	want := func(want string) {
		t.Helper()
		etcdtest.Eventually(t, 10*time.Second, want, func() bool { return states(t, m, "barrier", name) == want })
	}
	want("waits sh")
	second := party()
	want("inside sh, inside sh")
	third := party()
	want("inside sh, inside sh, waits sh")
	first.until("in")
	second.until("in")
	third.signal(2)
	end()
	first.exits(0)
	second.exits(0)
	third.exits(130)
}

func TestLsShowsClosedGatesAndWhatALatchHasLeft(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	do := func(args ...string) {
		t.Helper()
		if code, _, stderr := fenceline(append([]string{"--endpoints", m.Endpoint()}, args...)...); code != 0 {
			t.Fatalf("%q: code %d, %s", args, code, stderr)
		}
	}
	do("gate", "close", name)
	if got := states(t, m, "gate", name); !strings.HasPrefix(got, "closed ") || strings.HasSuffix(got, "-") {
		t.Errorf("%s", got)
	}
	do("gate", "open", name)
	if got := states(t, m, "gate", name); got != "" {
		t.Errorf("an open gate: %s", got)
	}
	do("latch", name, "--count", "2", "down", "a")
	if got := states(t, m, "latch", name); got != "1 of 2 left -" {
		t.Errorf("after one: %s", got)
	}
	do("latch", name, "--count", "2", "down", "b")
	if got := states(t, m, "latch", name); got != "open -" {
		t.Errorf("after all: %s", got)
	}
}
