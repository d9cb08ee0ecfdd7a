package cli

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

// leads is a command that says once more in $D/terms that it was started, with its token and lease, and goes on until
// it gets SIGTERM.
const leads = `trap 'exit 9' TERM; echo $FENCELINE_TOKEN $FENCELINE_LEASE $FENCELINE_KEY >> $D/terms; while :; do sleep 0.01; done`

// term waits for the command to have been started n times, and answers token, lease and key of the last.
func (w *wrapper) term(n int) (token int64, lease clientv3.LeaseID, key string) {
	w.t.Helper()
	var last []string
	etcdtest.Eventually(w.t, 15*time.Second, fmt.Sprintf("term %d; stderr %s", n, w.stderr()), func() bool {
		lines := strings.Split(strings.TrimSuffix(w.read("terms"), "\n"), "\n")
		last = strings.Fields(lines[len(lines)-1])
		return len(lines) == n && len(last) == 3
	})
	token, err := strconv.ParseInt(last[0], 10, 64)
	id, idErr := strconv.ParseInt(last[1], 16, 64)
	if err != nil || idErr != nil {
		w.t.Fatal(err, idErr)
	}
	return token, clientv3.LeaseID(id), last[2]
}

func candidates(t *testing.T, client *clientv3.Client, name string, want int) {
	t.Helper()
	keysUnder(t, client, "fenceline/election/"+name+"/", want)
}

func TestElectedCommandEndsTheTermWithItsExitCode(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	for command, code := range map[string]int{"exit 0": 0, "exit 3": 3, "kill -KILL $$": 137} {
		started(t, m.Endpoint(), "elect", name, "--", "sh", "-c", command).exits(code)
		candidates(t, m.Client(t), name, 0)
	}
	w := started(t, m.Endpoint(), "elect", name, "no-such-command-anywhere")
	w.exits(127)
	w.says("no-such-command-anywhere")
}

func TestCommandRunsAnewWithALargerTokenAfterALoss(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	client := m.Client(t)
	w := started(t, m.Endpoint(), "elect", "--ttl", "3", name, "--", "sh", "-c", leads)
	first, lease, _ := w.term(1)
	if _, err := client.Revoke(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	second, _, key := w.term(2)
	w.says("lost: lease does not exist any more")
	if _, err := client.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	third, _, _ := w.term(3)
	if first >= second || second >= third {
		t.Errorf("tokens %d, %d, %d", first, second, third)
	}
	w.signal(syscall.SIGTERM)
	w.exits(9)
	candidates(t, client, name, 0)
}

func TestOnceEndsWith75AfterALoss(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	w := started(t, m.Endpoint(), "elect", "--once", name, "--", "sh", "-c", leads)
	_, lease, _ := w.term(1)
	if _, err := m.Client(t).Revoke(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	w.exits(75)
	w.term(1)
	candidates(t, m.Client(t), name, 0)
}

func TestCommandToldToEndWhileItLosesIsNotRunAnew(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	w := started(t, m.Endpoint(), "elect", "--grace", "3", name, "--", "sh", "-c",
		`trap 'echo > $D/term' TERM; echo $FENCELINE_TOKEN $FENCELINE_LEASE $FENCELINE_KEY >> $D/terms; while :; do sleep 0.01; done`)
	_, lease, _ := w.term(1)
	if _, err := m.Client(t).Revoke(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	w.until("term")
	w.signal(syscall.SIGTERM)
	w.exits(75)
	w.term(1)
}

// A command that finds out first that it does not lead may end with whatever code: it is still the loss that ended it.
func TestLossFoundAtTheEndOfATermIsALoss(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	client := m.Client(t)
	in, end := pipe(t)
	w := startedWith(t, m.Endpoint(), in, "elect", "--once", name, "--", "sh", "-c",
		`echo $FENCELINE_TOKEN $FENCELINE_LEASE $FENCELINE_KEY >> $D/terms; cat`)
	_, _, key := w.term(1)
	if _, err := client.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	end()
	w.exits(75)
}

func TestElectedCommandIsDeadBeforeTheNextLeaderWhenTheNetworkIsCut(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	p := etcdtest.NewProxy(t, m)
	w := started(t, p.Endpoint(), "elect", "--once", "--ttl", "2", name, "--", "sh", "-c", beats)
	w.until("beats")
	next := started(t, m.Endpoint(), "elect", name, "--", "sh", "-c", "date +%s%N > $D/beats")
	candidates(t, m.Client(t), name, 2)
	p.Blackhole()
	next.exits(0)
	w.exits(75)
	if overlap := w.lastBeat().Sub(next.lastBeat()); overlap >= 0 {
		t.Errorf("the command was alive %v after the next one began", overlap)
	}
	w.commandIsDead()
}

func TestOnLostIgnoreLetsTheElectedCommandEndByItself(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	in, end := pipe(t)
	w := startedWith(t, m.Endpoint(), in, "elect", "--on-lost", "ignore", name, "--", "sh", "-c",
		`echo $FENCELINE_TOKEN $FENCELINE_LEASE $FENCELINE_KEY >> $D/terms; cat; exit 4`)
	_, lease, _ := w.term(1)
	if _, err := m.Client(t).Revoke(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	etcdtest.Eventually(t, 10*time.Second, "it says so", func() bool { return strings.Contains(w.stderr(), "goes on without it") })
	end()
	w.exits(4)
	w.term(1)
}

func TestInterruptedCampaignLeavesNothingBehind(t *testing.T) {
	m := etcdtest.Start(t)
	client := m.Client(t)
	in, _ := pipe(t)
	leader := startedWith(t, m.Endpoint(), in, "elect", "x", "--", "sh", "-c", leads)
	leader.term(1)
	for sig, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		w := started(t, m.Endpoint(), "elect", "x", "true")
		candidates(t, client, "x", 2)
		w.signal(sig)
		w.exits(code)
		candidates(t, client, "x", 1)
		if leases := etcdtest.Leases(t, client); len(leases) != 1 {
			t.Errorf("%v: leases %v, want the leader's", sig, leases)
		}
	}
}

func TestElectedCommandIsToldItsTerm(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	client := m.Client(t)
	in, end := pipe(t)
	w := startedWith(t, m.Endpoint(), in, "lock", name, "--", etcdtest.Command(t), "elect", "--priority", "7", "--value", "a b", name, "--", "sh", "-c",
		`echo "$FENCELINE_ELECTION_NAME|$FENCELINE_VALUE|$FENCELINE_TOKEN|$FENCELINE_LEASE|$FENCELINE_ENDPOINTS|$FENCELINE_LOCK_NAME$FENCELINE_KEYS|$ETCD_LOCK_REV|$ETCD_LOCK_KEY|$FENCELINE_KEY" > $D/env; cat`)
	env := strings.Split(w.until("env"), "|")
	resp, err := client.Get(t.Context(), env[8])
	if err != nil || len(resp.Kvs) != 1 || !strings.HasSuffix(env[8], "~7") || string(resp.Kvs[0].Value) != "a b" {
		t.Fatalf("key %q: %v, %v", env[8], resp, err)
	}
	revision := resp.Kvs[0].CreateRevision
	token, lease := fence.TokenAt(revision, 0).String(), fmt.Sprintf("%x", resp.Kvs[0].Lease)
	if got, want := strings.Join(env[:8], "|"), strings.Join([]string{name, "a b", token, lease, m.Endpoint(), "", fmt.Sprint(revision), env[8]}, "|"); got != want {
		t.Errorf("environment: %s\nin etcd:     %s", got, want)
	}
	end()
	w.exits(0)
}

func TestValueOfACandidateIsTheHostUnlessGiven(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	w := started(t, m.Endpoint(), "elect", name, "--", "sh", "-c", leads)
	_, _, key := w.term(1)
	if resp, err := m.Client(t).Get(t.Context(), key); err != nil || string(resp.Kvs[0].Value) != host {
		t.Errorf("%v, %v, want %q", resp, err, host)
	}
}

func TestHigherPriorityLeadsNext(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	client := m.Client(t)
	leader := started(t, m.Endpoint(), "elect", name, "--", "sh", "-c", leads)
	leader.term(1)
	low := started(t, m.Endpoint(), "elect", name, "--", "sh", "-c", leads)
	candidates(t, client, name, 2)
	high := started(t, m.Endpoint(), "elect", "--priority", "5", name, "--", "sh", "-c", leads)
	candidates(t, client, name, 3)
	leader.signal(syscall.SIGTERM)
	high.term(1)
	if low.read("terms") != "" {
		t.Error("the lower priority led first")
	}
}

func TestElectUnderARawPrefix(t *testing.T) {
	m, prefix := etcdtest.Shared(t), "raw/"+etcdtest.Name(t)
	client := m.Client(t)
	w := started(t, m.Endpoint(), "elect", "--prefix", prefix, "--value", "v1", "x", "--", "sh", "-c", leads)
	w.term(1)
	keysUnder(t, client, prefix+"/", 1)
	code, stdout, stderr := fenceline("observe", "--once", "--prefix", prefix, "--endpoints", m.Endpoint())
	if code != 0 || !strings.Contains(stdout, "v1") {
		t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestWrongElectAndObserveCommandLinesAre64BeforeAnyRequest(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"elect"}, "NAME and COMMAND are missing"},
		{[]string{"elect", "--", "true"}, "NAME is missing in front of --"},
		{[]string{"elect", "a"}, `nothing to run while leading election "a"`},
		{[]string{"elect", "a", "--"}, `nothing to run while leading election "a"`},
		{[]string{"elect", "", "true"}, `election "": it is empty`},
		{[]string{"elect", "a\n", "true"}, "control character"},
		{[]string{"elect", "a", "b", "--", "true"}, `"b": an election has one NAME, "a" is it`},
		{[]string{"elect", "--ttl", "1", "a", "true"}, "1s: it is under 2s"},
		{[]string{"elect", "--ttl", "6", "--grace", "3", "a", "true"}, "--grace 3s: at most a third of --ttl 6s is allowed, 2s"},
		{[]string{"elect", "--on-lost", "panic", "a", "true"}, `--on-lost "panic": it is none of kill, term, ignore`},
		{[]string{"elect", "--priority", "high", "a", "true"}, `--priority "high": it is not a whole number`},
		{[]string{"elect", "--prefix", "", "a", "true"}, `--prefix "": it is empty`},
		{[]string{"elect", "--prefix", "fenceline", "--namespace", "fenceline/x/", "a", "true"}, `--prefix "fenceline": --namespace "fenceline/x/" is inside of it`},
		{[]string{"elect", "--namespace", "", "a", "true"}, "--namespace: it is empty"},
		{[]string{"elect", "a", "--nosuch", "true"}, "--nosuch"},
		{[]string{"observe"}, "NAME is missing"},
		{[]string{"observe", ""}, `election "": it is empty`},
		{[]string{"observe", "a", "b"}, `"b": one NAME at most`},
		{[]string{"observe", "--prefix", "p", "a"}, `"a": --prefix is instead of NAME`},
		{[]string{"observe", "--prefix", "", "a"}, `--prefix "": it is empty`},
		{[]string{"observe", "--namespace", "", "a"}, "--namespace: it is empty"},
	} {
		code, stdout, stderr := fenceline(test.args...)
		if code != 64 || stdout != "" || !strings.Contains(stderr, test.want) {
			t.Errorf("%.60q: code %d, stdout %q, stderr %q, want %q", test.args, code, stdout, stderr, test.want)
		}
	}
}

func TestLsShowsValuesAndPrioritiesOfCandidatesAndNoTransfers(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	client := m.Client(t)
	leader := started(t, m.Endpoint(), "elect", "--value", "http://a:1\x1b[2J", name, "--", "sh", "-c", leads)
	_, lease, _ := leader.term(1)
	waiter := started(t, m.Endpoint(), "elect", "--value", strings.Repeat("v", 100), "--priority", "-3", name, "--", "sh", "-c", leads)
	candidates(t, client, name, 2)
	prefix := "fenceline/election/" + name + "/"
	if _, err := client.Put(t.Context(), prefix+"next~1a~4", "", clientv3.WithLease(lease)); err != nil {
		t.Fatal(err)
	}
	got := lsJSON(t, m, "election", name)
	if len(got.Lines) != 1 || len(got.Lines[0].Entries) != 2 {
		t.Fatalf("%+v", got)
	}
	first, second := got.Lines[0].Entries[0], got.Lines[0].Entries[1]
	if first.State != "holds" || first.Value != "http://a:1\x1b[2J" || first.Priority != 0 ||
		second.State != "waits" || second.Priority != -3 || second.Session == nil || second.Session.PID != waiter.cmd.Process.Pid {
		t.Errorf("%+v", got.Lines[0].Entries)
	}
	_, stdout, _ := fenceline("ls", "election", name, "--endpoints", m.Endpoint())
	if strings.Contains(stdout, "\x1b") || !strings.Contains(stdout, "PRIORITY") || !strings.Contains(stdout, " -3 ") ||
		strings.Contains(stdout, strings.Repeat("v", 80)) || !strings.Contains(stdout, `\x1b[2J`) {
		t.Errorf("%s", stdout)
	}
	if _, stdout, _ := fenceline("ls", "--prefix", strings.TrimSuffix(prefix, "/"), "--endpoints", m.Endpoint()); strings.Contains(stdout, "next~") {
		t.Errorf("%s", stdout)
	}
	if _, stdout, _ := fenceline("__complete", "ls", ""); !strings.Contains(stdout, "election\n") {
		t.Errorf("%s", stdout)
	}
}
