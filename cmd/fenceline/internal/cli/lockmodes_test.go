package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

// holdWith is hold with flags, and perhaps several names.
func holdWith(t *testing.T, m *etcdtest.Member, args ...string) (release func()) {
	t.Helper()
	in, end := pipe(t)
	w := startedWith(t, m.Endpoint(), in, append(append([]string{"lock"}, args...), "--", "sh", "-c", "echo > $D/held; cat")...)
	w.until("held")
	return func() { t.Helper(); end(); w.exits(0) }
}

func keysUnder(t *testing.T, client *clientv3.Client, prefix string, want int) {
	t.Helper()
	etcdtest.Eventually(t, 10*time.Second, fmt.Sprintf("%d entries of %s", want, prefix), func() bool {
		return len(etcdtest.Keys(t, client, prefix)) == want
	})
}

// lsJSON is what ls says as JSON.
func lsJSON(t *testing.T, m *etcdtest.Member, args ...string) inspect.Snapshot {
	t.Helper()
	code, stdout, stderr := fenceline(append([]string{"ls", "-o", "json", "--endpoints", m.Endpoint()}, args...)...)
	var got inspect.Snapshot
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != 0 {
		t.Fatalf("code %d, %v: %s%s", code, err, stdout, stderr)
	}
	return got
}

// states are those of all entries, as "position mode state".
func statesOf(l *inspect.Line) string {
	var all []string
	for _, e := range l.Entries {
		all = append(all, strings.TrimSpace(fmt.Sprintf("%d %s", e.Position, strings.TrimSpace(e.Mode+" "+e.State))))
	}
	return strings.Join(all, ", ")
}

// Readers and writers.

func TestReadersRunBesideEachOtherAndExcludeTheWriter(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	one, two := holdWith(t, m, "-s", name), holdWith(t, m, "--shared", name)
	w := started(t, m.Endpoint(), "lock", "-n", "-x", name, "true")
	w.exits(1)
	w.says("held by sh on host ")
	one()
	started(t, m.Endpoint(), "lock", "-n", "--exclusive", name, "true").exits(1)
	two()
	started(t, m.Endpoint(), "lock", "-n", "-x", name, "true").exits(0)
}

func TestWriterExcludesReadersAndWriters(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	release := holdWith(t, m, "-x", name)
	for _, mode := range []string{"-s", "-x"} {
		started(t, m.Endpoint(), "lock", "-n", mode, name, "true").exits(1)
	}
	release()
	started(t, m.Endpoint(), "lock", "-n", "-s", name, "true").exits(0)
}

func TestPlainLockIsAnotherThanTheReadersAndWriters(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	release := holdWith(t, m, "-x", name)
	started(t, m.Endpoint(), "lock", "-n", name, "true").exits(0)
	release()
}

func TestReaderIsToldItsEntry(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	w := started(t, m.Endpoint(), "lock", "-s", name, "sh", "-c", "echo $FENCELINE_LOCK_NAME $FENCELINE_KEY $FENCELINE_TOKEN > $D/env")
	w.exits(0)
	env := strings.Fields(w.until("env"))
	if len(env) != 3 || env[0] != name || !strings.HasPrefix(env[1], "fenceline/rwlock/"+name+"/") || env[2] == "0" {
		t.Errorf("%q", env)
	}
}

func TestLsShowsModesAndAllWhoHold(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	one, two := holdWith(t, m, "-s", name), holdWith(t, m, "-s", name)
	writer := started(t, m.Endpoint(), "lock", "-x", name, "true")
	keysUnder(t, m.Client(t), "fenceline/rwlock/"+name+"/", 3)
	reader := started(t, m.Endpoint(), "lock", "-s", name, "true")
	keysUnder(t, m.Client(t), "fenceline/rwlock/"+name+"/", 4)
	got := lsJSON(t, m, "rwlock", name)
	if want := "1 read holds, 2 read holds, 3 write waits, 4 read waits"; len(got.Lines) != 1 || statesOf(got.Lines[0]) != want {
		t.Errorf("%s, want %s", statesOf(got.Lines[0]), want)
	}
	if _, stdout, _ := fenceline("ls", "rwlock", name, "--endpoints", m.Endpoint()); !strings.Contains(stdout, "MODE") || strings.Contains(stdout, "VALUE") {
		t.Error(stdout)
	}
	one()
	two()
	writer.exits(0)
	reader.exits(0)
}

func TestCompletionOfSharedKnowsTheNamesOfReaders(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	release := holdWith(t, m, "-s", name)
	defer release()
	for mode, want := range map[string]string{"-s": name + "\n:4\n", "-x": name + "\n:4\n", "-n": ":4\n"} {
		if _, stdout, _ := fenceline("__complete", "lock", mode, "--endpoints", m.Endpoint(), name[:len(name)-1]); stdout != want {
			t.Errorf("%s: %q, want %q", mode, stdout, want)
		}
	}
}

// Several names.

func TestSeveralNamesAreHeldAtOnceAndGivenBackAtOnce(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	a, b := name+"/a", name+"/b"
	release := holdWith(t, m, b, a)
	for _, one := range []string{a, b} {
		started(t, m.Endpoint(), "lock", "-n", one, "true").exits(1)
	}
	release()
	for _, one := range []string{a, b} {
		started(t, m.Endpoint(), "lock", "-n", one, "true").exits(0)
	}
}

func TestSeveralNamesAndFlagsMayStandInAnyOrderInFrontOfTheDashes(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	for _, args := range [][]string{
		{"lock", name, name + "2", name + "3", "--", "sh", "-c", "exit 5"},
		{"lock", "-n", name, name + "2", "--", "sh", "-c", "exit 5"},
		{"lock", name, "-n", name + "2", "--ttl", "5", "--", "sh", "-c", "exit 5"},
		{"lock", "--several", name, "sh", "--", "sh", "-c", "exit 5"},
		{"lock", name, name + "2", "sh", "--", "sh", "-c", "exit 5"}, // by then it is clear
		{"lock", name, "--", "sh", "-c", "exit $1", "--", "5"},       // these -- are the command's
		{"lock", "-n", name, "--", "sh", "-c", "exit $1", "--", "5"},
	} {
		w := started(t, m.Endpoint(), args...)
		w.exits(5)
	}
}

func TestCommandOfSeveralNamesIsToldNamesKeysAndOneToken(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	client := m.Client(t)
	a, b := name+"/b c", name+"/a"
	in, end := pipe(t)
	script := `echo "$FENCELINE_LOCK_NAMES" > $D/names; echo "$FENCELINE_KEYS" > $D/keys; echo $FENCELINE_TOKEN $FENCELINE_LEASE > $D/token
		echo "${FENCELINE_LOCK_NAME-unset} ${FENCELINE_KEY-unset} ${ETCD_LOCK_KEY-unset} ${ETCD_LOCK_REV-unset}" > $D/single; cat`
	// Inside the hold of another, whose variables must not show through.
	w := startedWith(t, m.Endpoint(), in, "lock", name, "--", etcdtest.Command(t), "lock", a, b, "--", "sh", "-c", script)
	if got := w.until("single"); got != "unset unset unset unset" {
		t.Errorf("variables of one name: %s", got)
	}
	if got := w.read("names"); got != a+"\n"+b+"\n" {
		t.Errorf("names %q", got)
	}
	token := strings.Fields(w.read("token"))
	keys := strings.Split(strings.TrimSuffix(w.read("keys"), "\n"), "\n")
	if len(keys) != 2 || len(token) != 2 {
		t.Fatalf("keys %q, token and lease %q", keys, token)
	}
	for i, key := range keys {
		resp, err := client.Get(t.Context(), key)
		if err != nil || len(resp.Kvs) != 1 {
			t.Fatalf("key %q: %v, %v", key, resp, err)
		}
		if kv := resp.Kvs[0]; fence.TokenAt(kv.CreateRevision, 0).String() != token[0] || fmt.Sprintf("%x", kv.Lease) != token[1] {
			t.Errorf("key %q: %v, want %q", key, kv, token)
		}
		if in := "fenceline/lock/" + strings.ReplaceAll([]string{a, b}[i], "/", "%2F") + "/"; !strings.HasPrefix(key, in) {
			t.Errorf("key %q is not in %q", key, in)
		}
	}
	end()
	w.exits(0)
}

func TestOneNameIsAlsoAListOfOne(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	started(t, m.Endpoint(), "lock", name, "sh", "-c", `test "$FENCELINE_LOCK_NAMES" = "$FENCELINE_LOCK_NAME" && test "$FENCELINE_KEYS" = "$FENCELINE_KEY"`).exits(0)
}

func TestSeveralNamesOfWhichOneIsHeldAreTheConflictCode(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	a, b := name+"a", name+"b"
	release := hold(t, m, b)
	for _, flags := range [][]string{{"-n", "-E", "9", "--command-timeout", "1m"}, {"-w", "0", "-E", "9"}, {"-w", "0.3", "-E", "9"}} {
		w := started(t, m.Endpoint(), append(append([]string{"lock"}, flags...), a, b, "--", "true")...)
		w.exits(9)
		w.says(fmt.Sprintf("locks %q, %q: ", a, b))
	}
	started(t, m.Endpoint(), "lock", "-n", "--skip-ok", a, b, "--", "false").exits(0)
	entries(t, m.Client(t), a, 0)
	release()
	started(t, m.Endpoint(), "lock", "-n", a, b, "--", "sh", "-c", "exit 42").exits(42)
}

func TestSetThatLosesOneEntryIsLost(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	a, b := name+"a", name+"b"
	w := started(t, m.Endpoint(), "lock", a, b, "--", "sh", "-c", `echo > $D/ready; while :; do sleep 0.01; done`)
	w.until("ready")
	client := m.Client(t)
	if _, err := client.Delete(t.Context(), entries(t, client, b, 1)[0]); err != nil {
		t.Fatal(err)
	}
	w.exits(75)
	w.says("entry deleted or overwritten")
	entries(t, client, a, 0)
}

func TestCommandOfSeveralNamesIsDeadBeforeTheLeaseEndsWhenEtcdStops(t *testing.T) {
	t.Parallel()
	const ttl = 3 * time.Second
	m := etcdtest.Start(t)
	w := started(t, m.Endpoint(), "lock", "--ttl", ttl.String(), "x", "y", "--", "sh", "-c", beats)
	w.until("beats")
	m.Stop(t)
	stopped := time.Now()
	w.exits(75)
	if alive := w.lastBeat().Sub(stopped); alive >= ttl {
		t.Errorf("the command lived for %v after etcd stopped; the TTL is %v", alive, ttl)
	}
	w.commandIsDead()
	w.says("lost: no renewal has been acknowledged") // SIGTERM went out before the lease was over
}

func TestInterruptedWaitForSeveralLeavesNothingBehind(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	a, b := name+"a", name+"b"
	release := hold(t, m, b)
	w := started(t, m.Endpoint(), "lock", a, b, "--", "true")
	entries(t, m.Client(t), b, 2)
	w.signal(syscall.SIGTERM)
	w.exits(143)
	entries(t, m.Client(t), a, 0)
	entries(t, m.Client(t), b, 1)
	release()
}

func TestLsSaysThatASetWaitsWhereItIsFirstToo(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	a, b := name+"a", name+"b"
	release := hold(t, m, b)
	w := started(t, m.Endpoint(), "lock", a, b, "--", "true")
	entries(t, m.Client(t), b, 2)
	for _, args := range [][]string{{"lock"}, {"lock", a}} {
		for _, l := range lsJSON(t, m, args...).Lines {
			if l.Name == a && statesOf(l) != "1 waits" {
				t.Errorf("%q: %s", args, statesOf(l))
			}
		}
	}
	if got := statesOf(lsJSON(t, m, "lock", b).Lines[0]); got != "1 holds, 2 waits" {
		t.Error(got)
	}
	release()
	w.exits(0)
}

// Delays and bounds.

func TestMinHoldKeepsOthersOutAfterAQuickCommand(t *testing.T) {
	t.Parallel()
	for kind, args := range map[string][]string{"one": {"NAME"}, "reader": {"-s", "NAME"}, "several": {"NAME", "NAME2"}} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			m, name := etcdtest.Shared(t), etcdtest.Name(t)
			other := []string{"lock", "-n", name, "true"}
			if kind == "reader" {
				other = []string{"lock", "-n", "-x", name, "true"}
			}
			command := []string{"lock", "--min-hold", "3"}
			for _, arg := range args {
				command = append(command, strings.Replace(arg, "NAME", name, 1))
			}
			began := time.Now()
			started(t, m.Endpoint(), append(command, "--", "true")...).exits(0)
			if took := time.Since(began); took > 2500*time.Millisecond {
				t.Errorf("the command itself was kept for %v", took)
			}
			w := started(t, m.Endpoint(), other...)
			w.exits(1)
			other[1] = "-w8"
			started(t, m.Endpoint(), other...).exits(0)
			if after := time.Since(began); after < 3*time.Second {
				t.Errorf("somebody else got it after %v", after)
			}
		})
	}
}

func TestLsShowsUntilWhenAReleasedLockIsKept(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	started(t, m.Endpoint(), "lock", "--min-hold", "1m", name, "true").exits(0)
	e := lsJSON(t, m, "lock", name).Lines[0].Entries[0]
	if e.State != "released" || e.KeptUntil == nil || time.Until(*e.KeptUntil) < 50*time.Second || time.Until(*e.KeptUntil) > 65*time.Second {
		t.Errorf("%+v", e)
	}
	_, stdout, _ := fenceline("ls", "lock", name, "--endpoints", m.Endpoint())
	if !strings.Contains(stdout, "released, kept until 20") || strings.Contains(stdout, "holds") {
		t.Error(stdout)
	}
}

func TestTakeoverDelayWaitsAfterAHolderThatDied(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	client := m.Client(t)
	holder := started(t, m.Endpoint(), "lock", "--ttl", "2", name, "sh", "-c", beats)
	holder.until("beats")
	w := started(t, m.Endpoint(), "lock", "--takeover-delay", "2", name, "sh", "-c", "date +%s%N > $D/beats")
	entries(t, client, name, 2)
	holder.signal(syscall.SIGKILL)
	entries(t, client, name, 1)
	free := time.Now()
	w.exits(0)
	if waited := w.lastBeat().Sub(free); waited < 1500*time.Millisecond { // it was seen to be free a little late
		t.Errorf("taken over after %v", waited)
	}
}

func TestMaxWaitersIsTheConflictCode(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	release := hold(t, m, name)
	waiter := started(t, m.Endpoint(), "lock", name, "true")
	entries(t, m.Client(t), name, 2)
	w := started(t, m.Endpoint(), "lock", "--max-waiters", "1", "-E", "7", name, "true")
	w.exits(7)
	w.says("too many are waiting, see --max-waiters 1")
	started(t, m.Endpoint(), "lock", "--max-waiters", "1", "--skip-ok", name, "false").exits(0)
	w = started(t, m.Endpoint(), "lock", "--max-waiters", "1", "-E", "7", name, name+"2", "--", "true")
	w.exits(7)
	next := started(t, m.Endpoint(), "lock", "--max-waiters", "2", name, "true")
	entries(t, m.Client(t), name, 3)
	release()
	waiter.exits(0)
	next.exits(0)
}

func TestAmbiguousCommandLineRunsNothing(t *testing.T) {
	dir := t.TempDir()
	tool := filepath.Join(dir, "cluster-exec")
	writeFile(t, tool, "#!/bin/sh\n")
	if err := os.Chmod(tool, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	mark := filepath.Join(dir, "ran")
	code, _, stderr := fenceline("lock", "nightly", "cluster-exec", "pod", "--", "touch", mark)
	if _, err := os.Stat(mark); code != 64 || err == nil || !strings.Contains(stderr, "lock nightly -- cluster-exec") {
		t.Errorf("code %d, stat %v: %s", code, err, stderr)
	}
}

func TestForgottenDashesAreHintedAt(t *testing.T) {
	code, _, stderr := fenceline("lock", "a", "no-such-name-anywhere", "true")
	if code != 127 || !strings.Contains(stderr, "behind several NAMEs there must be --") {
		t.Errorf("code %d: %s", code, stderr)
	}
	for _, args := range [][]string{{"lock", "a", "no-such-command-anywhere"}, {"lock", "a", "--", "no-such-command-anywhere", "x"}} {
		if code, _, stderr := fenceline(args...); code != 127 || strings.Contains(stderr, "several") {
			t.Errorf("%q: code %d: %s", args, code, stderr)
		}
	}
}

func TestHelpOfLockTellsReadersFromLocksAndWhatGraceIsFor(t *testing.T) {
	_, stdout, _ := fenceline("lock", "--help")
	for _, want := range []string{"another one than that of the same NAME without them", "fenceline lock -s catalogue", "fenceline lock -x catalogue",
		"about loss only", "FENCELINE_LOCK_NAMES", "FENCELINE_KEYS"} {
		if !strings.Contains(strings.Join(strings.Fields(stdout), " "), want) { // wherever lines break
			t.Errorf("no %q in it", want)
		}
	}
}
