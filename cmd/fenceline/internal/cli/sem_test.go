package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/sem"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

func permits(t *testing.T, client *clientv3.Client, name string, want int) []string {
	t.Helper()
	var keys []string
	etcdtest.Eventually(t, 10*time.Second, fmt.Sprintf("%d permits of %s", want, name), func() bool {
		keys = etcdtest.Keys(t, client, "fenceline/semaphore/"+name+"/line/")
		return len(keys) == want
	})
	return keys
}

// holdUnits holds units until the test ends, or release is called.
func holdUnits(t *testing.T, m *etcdtest.Member, name string, flags ...string) (release func()) {
	t.Helper()
	in, end := pipe(t)
	w := startedWith(t, m.Endpoint(), in, append(append([]string{"sem", name}, flags...), "--", "sh", "-c", "echo > $D/held; cat")...)
	w.until("held")
	return func() { end(); w.exits(0) }
}

func TestWrongSemCommandLinesAre64BeforeAnyRequest(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"sem"}, "NAME and COMMAND are missing"},
		{[]string{"sem", "--", "true"}, "NAME is missing in front of --"},
		{[]string{"sem", "--limit", "2", "a"}, "COMMAND is missing"},
		{[]string{"sem", "", "true"}, `semaphore "": it is empty`},
		{[]string{"sem", "--limit", "-1", "a", "true"}, "--limit -1: it must be at least 1, or 0 for the stored one"},
		{[]string{"sem", "--limit", "many", "a", "true"}, `--limit "many": it is not a whole number`},
		{[]string{"sem", "a", "--units", "0", "true"}, "--units 0: it must be at least 1"},
		{[]string{"sem", "a", "--units", "1.5", "true"}, `--units "1.5": it is not a whole number`},
		{[]string{"sem", "a", "--limit", "2", "--units", "3", "--", "true"}, "--units 3: there are only --limit 2"},
		{[]string{"sem", "-n", "-w", "1", "a", "true"}, "-n and -w exclude each other"},
		{[]string{"sem", "-E", "256", "a", "true"}, "-E 256"},
		{[]string{"sem", "--skip-ok", "-E", "3", "a", "true"}, "--skip-ok and -E"},
		{[]string{"sem", "--ttl", "1", "a", "true"}, "1s: it is under 2s"},
		{[]string{"sem", "resize"}, "NAME is missing"},
		{[]string{"sem", "resize", "a"}, "N is missing"},
		{[]string{"sem", "resize", "a", "0"}, `N "0": it must be a whole number, at least 1`},
		{[]string{"sem", "resize", "a", "x"}, `N "x": it must be a whole number, at least 1`},
		{[]string{"sem", "resize", "a", "1", "2"}, `"2": one argument too many`},
		{[]string{"sem", "status"}, "NAME is missing"},
		{[]string{"sem", "status", "--", "true"}, "-- has no place here"},
		{[]string{"sem", "status", ""}, `semaphore "": it is empty`},
		{[]string{"sem", "status", "--namespace", "", "a"}, "--namespace"},
	} {
		code, stdout, stderr := fenceline(append(test.args[:1:1], append([]string{"--endpoints", "127.0.0.1:1"}, test.args[1:]...)...)...)
		if code != 64 || stdout != "" || !strings.Contains(stderr, test.want) {
			t.Errorf("%q: code %d, stdout %q, stderr %q, want %q", test.args, code, stdout, stderr, test.want)
		}
	}
}

func TestSemRunsAsManyAsFitAndTheNextInTurn(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	client := m.Client(t)
	first := holdUnits(t, m, name, "--limit", "3", "--units", "2")
	second := holdUnits(t, m, name, "--limit", "3")
	large := started(t, m.Endpoint(), "sem", name, "--units", "2", "--", "sh", "-c", "echo > $D/ran")
	permits(t, client, name, 3)
	small := started(t, m.Endpoint(), "sem", name, "sh", "-c", "echo > $D/ran")
	permits(t, client, name, 4)
	second()
	permits(t, client, name, 3)
	if large.read("ran")+small.read("ran") != "" {
		t.Error("somebody ran out of turn")
	}
	first()
	large.exits(0)
	small.exits(0)
	large.until("ran")
	small.until("ran")
	permits(t, client, name, 0)
}

func TestSemTellsTheCommandWhatItHolds(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	w := started(t, m.Endpoint(), "sem", name, "--limit", "5", "--units", "4", "--", "sh", "-c", `echo $FENCELINE_SEMAPHORE_NAME $FENCELINE_UNITS $FENCELINE_ENDPOINTS; exit 7`)
	w.exits(7)
	if got, want := w.stdout(), name+" 4 "+m.Endpoint()+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSemOfAnotherLimitIs1AndNamesBoth(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	none := started(t, m.Endpoint(), "sem", name, "true")
	none.exits(1)
	none.says("nobody has stored a limit yet, and --limit gives none")
	started(t, m.Endpoint(), "sem", "--limit", "3", name, "true").exits(0)
	for _, flags := range [][]string{nil, {"-n"}, {"--skip-ok"}, {"-E", "9"}} {
		w := started(t, m.Endpoint(), append(append([]string{"sem", "--limit", "5"}, flags...), name, "true")...)
		w.exits(1)
		w.says("--limit 5: the stored limit is 3")
		w = started(t, m.Endpoint(), append(append([]string{"sem", "--units", "4"}, flags...), name, "true")...)
		w.exits(1)
		w.says("--units 4: ")
		w.says("limit is 3")
	}
	for _, limit := range []string{"0", "3"} {
		started(t, m.Endpoint(), "sem", "--limit", limit, name, "true").exits(0)
	}
}

func TestSemTryAndTimeoutEndWithTheConflictCode(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	release := holdUnits(t, m, name, "--limit", "2", "--units", "2")
	for _, test := range []struct {
		flags []string
		code  int
		says  string
	}{
		{[]string{"-n"}, 1, "no unit is free"},
		{[]string{"-n", "--units", "2", "-E", "99"}, 99, "fewer than 2 units are free"},
		{[]string{"-w", "0"}, 1, "no unit is free"},
		{[]string{"-w", "0.2"}, 1, "not free within 200ms"},
		{[]string{"-w", "200ms", "-E", "7"}, 7, "not free within 200ms"},
		{[]string{"-n", "--skip-ok"}, 0, ""},
		{[]string{"-w", "0.1", "--skip-ok"}, 0, ""},
	} {
		w := started(t, m.Endpoint(), append(append([]string{"sem"}, test.flags...), name, "sh", "-c", "exit 42")...)
		w.exits(test.code)
		w.says(test.says)
		if test.says == "" && w.stderr() != "" {
			t.Errorf("%q: said %q", test.flags, w.stderr())
		}
	}
	permits(t, m.Client(t), name, 1)
	release()
	started(t, m.Endpoint(), "sem", "-n", name, "sh", "-c", "exit 42").exits(42)
}

func TestInterruptedSemWaiterLeavesNoEntry(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	release := holdUnits(t, m, name, "--limit", "1")
	w := started(t, m.Endpoint(), "sem", name, "sh", "-c", "exit 42")
	permits(t, m.Client(t), name, 2)
	w.signal(syscall.SIGINT)
	w.exits(130)
	permits(t, m.Client(t), name, 1)
	release()
}

func TestSemLeavesNothingBehindButTheLimit(t *testing.T) {
	m := etcdtest.Start(t)
	client := m.Client(t)
	for command, code := range map[string]int{"exit 0": 0, "exit 3": 3, "kill -KILL $$": 137} {
		started(t, m.Endpoint(), "sem", "n", "--limit", "2", "--", "sh", "-c", command).exits(code)
	}
	started(t, m.Endpoint(), "sem", "resize", "n", "3").exits(0)
	keys, leases := etcdtest.Keys(t, client, ""), etcdtest.Leases(t, client)
	if len(leases) > 0 || len(keys) != 1 || keys[0] != "fenceline/semaphore/n/limit" {
		t.Errorf("left behind: leases %v, keys %q", leases, keys)
	}
}

func TestSemPassesSignalsOn(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	w := started(t, m.Endpoint(), "sem", name, "--limit", "1", "--", "sh", "-c", `trap 'exit 9' TERM; echo > $D/ready; while :; do sleep 0.01; done`)
	w.until("ready")
	w.signal(syscall.SIGTERM)
	w.exits(9)
	permits(t, m.Client(t), name, 0)
}

func TestLostPermitEndsTheCommandWith75(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	w := started(t, m.Endpoint(), "sem", name, "--limit", "1", "--", "sh", "-c", `echo > $D/ready; while :; do sleep 0.01; done`)
	w.until("ready")
	if _, err := m.Client(t).Delete(t.Context(), permits(t, m.Client(t), name, 1)[0]); err != nil {
		t.Fatal(err)
	}
	w.exits(75)
	w.says("entry deleted or overwritten")
}

func TestSemWithoutEtcdIs69(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"sem", "x", "true"}, {"sem", "resize", "x", "1"}, {"sem", "status", "x"}} {
		w := started(t, "127.0.0.1:1", append(args[:1:1], append([]string{"--command-timeout", "300ms"}, args[1:]...)...)...)
		w.exits(69)
		w.says("cannot reach etcd at 127.0.0.1:1")
	}
}

func TestSemStatusCountsUnitsAsLsDoes(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	w := started(t, m.Endpoint(), "sem", "status", name)
	w.exits(1)
	w.says("nobody has stored a limit yet")
	release := holdUnits(t, m, name, "--limit", "4", "--units", "3")
	waiter := started(t, m.Endpoint(), "sem", name, "--units", "2", "true")
	permits(t, m.Client(t), name, 2)
	code, stdout, stderr := fenceline("sem", "status", name, "-o", "json", "--endpoints", m.Endpoint())
	var got sem.Status
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != 0 || got != (sem.Status{Name: name, Limit: 4, Held: 3, Waiting: 2}) {
		t.Errorf("code %d, %v: %+v %s", code, err, got, stderr)
	}
	if _, stdout, _ := fenceline("sem", "status", name, "--endpoints", m.Endpoint()); squeeze(stdout) != "NAME LIMIT HELD WAITING\n"+name+" 4 3 2" {
		t.Error(stdout)
	}
	l := lsJSON(t, m, "semaphore", name).Lines[0]
	if statesOf(l) != "1 holds, 2 waits" || l.Limit != 4 || l.Entries[0].Units != 3 || l.Entries[1].Units != 2 {
		t.Errorf("%s: %+v", statesOf(l), l)
	}
	release()
	waiter.exits(0)
	if l := lsJSON(t, m, "semaphore", name).Lines; len(l) != 0 {
		t.Errorf("a limit alone is shown: %+v", l)
	}
}

func TestSemResizeLetsWaitersInAtOnce(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	release := holdUnits(t, m, name, "--limit", "1")
	waiter := started(t, m.Endpoint(), "sem", name, "true")
	permits(t, m.Client(t), name, 2)
	code, stdout, stderr := fenceline("sem", "resize", name, "2", "--endpoints", m.Endpoint())
	if code != 0 || stdout != "" || !strings.Contains(stderr, "the limit is 2, it was 1") {
		t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	waiter.exits(0)
	release()
	w := started(t, m.Endpoint(), "sem", name, "--limit", "1", "--", "true")
	w.exits(1)
	w.says("the stored limit is 2")
}
