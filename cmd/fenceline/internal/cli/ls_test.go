package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

func TestWrongLockAndLsCommandLinesAre64BeforeAnyRequest(t *testing.T) {
	long := strings.Repeat("x", 513)
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"lock"}, "NAME and COMMAND are missing"},
		{[]string{"lock", "a"}, `nothing to run while holding lock "a"`},
		{[]string{"lock", "a", "--"}, `nothing to run while holding lock "a"`},
		{[]string{"lock", "a", ""}, "COMMAND is missing"},
		{[]string{"lock", "", "true"}, `lock "": it is empty`},
		{[]string{"lock", long, "true"}, "it has 513 bytes, at most 512"},
		{[]string{"lock", "a\n", "true"}, "control character"},
		{[]string{"lock", "a\xff", "true"}, "not UTF-8"},
		{[]string{"lock", "-w", "-1", "a", "true"}, "it is negative"},
		{[]string{"lock", "a", "-w", "-1", "true"}, "it is negative"},
		{[]string{"lock", "-w", "soon", "a", "true"}, `"soon"`},
		{[]string{"lock", "-w", "NaN", "a", "true"}, `"NaN"`},
		{[]string{"lock", "-w", "1e300", "a", "true"}, `"1e300"`},
		{[]string{"lock", "-n", "-w", "1", "a", "true"}, "-n and -w exclude each other"},
		{[]string{"lock", "--on-lost", "panic", "a", "true"}, `"panic": it is none of kill, term, ignore`},
		{[]string{"lock", "-E", "256", "a", "true"}, "-E 256"},
		{[]string{"lock", "--skip-ok", "-E", "3", "a", "true"}, "--skip-ok and -E"},
		{[]string{"lock", "--ttl", "1", "a", "true"}, "1s: it is under 2s"},
		{[]string{"lock", "--ttl", "2.5", "a", "true"}, "2.5s: it is not in whole seconds"},
		{[]string{"lock", "--ttl", "6", "--grace", "3", "a", "true"}, "--grace 3s: at most a third of --ttl 6s is allowed, 2s"},
		{[]string{"lock", "--namespace", "", "a", "true"}, "--namespace"},
		{[]string{"lock", "a", "--nosuch", "true"}, "--nosuch"},
		{[]string{"lock", "--", "true"}, "NAME is missing in front of --"},
		{[]string{"lock", "-n", "--", "a", "true"}, "NAME is missing in front of --"},
		{[]string{"lock", "-s", "-x", "a", "true"}, "-s and -x exclude each other"},
		{[]string{"lock", "-s", "a", "b", "--", "true"}, `-s and -x are for one NAME: locks "a", "b"`},
		{[]string{"lock", "a", "b", "-x", "--", "true"}, "-s and -x are for one NAME"},
		{[]string{"lock", "a", "b", "a", "--", "true"}, `NAME "a": it is given twice`},
		{[]string{"lock", "a", "", "--", "true"}, `lock "": it is empty`},
		{[]string{"lock", "a", "b", "--"}, `nothing to run while holding locks "a", "b"`},
		{[]string{"lock", "a", "sh", "x", "--", "true"}, `"sh" is a command on this machine: is it the COMMAND, or a NAME? Say which: lock a -- sh ..., or lock --several a sh`},
		{[]string{"lock", "--min-hold", "-1", "a", "true"}, `--min-hold "-1": it is negative`},
		{[]string{"lock", "--min-hold", "long", "a", "true"}, `--min-hold "long": neither a number of seconds nor a duration such as 1m30s`},
		{[]string{"lock", "--takeover-delay", "-2s", "a", "true"}, `--takeover-delay "-2s": it is negative`},
		{[]string{"lock", "a", "--takeover-delay", "x", "true"}, `--takeover-delay "x": neither`},
		{[]string{"lock", "--max-waiters", "0", "a", "true"}, "--max-waiters 0: it must be at least 1"},
		{[]string{"lock", "--max-waiters", "-3", "a", "true"}, "--max-waiters -3: it must be at least 1"},
		{[]string{"lock", "--max-waiters", "few", "a", "true"}, `--max-waiters "few": it is not a whole number`},
		{[]string{"ls", ""}, `KIND ""`},
		{[]string{"ls", "a/b"}, `KIND "a/b"`},
		{[]string{"ls", "foo"}, `KIND "foo": it is none of lock, rwlock, election, semaphore, barrier, gate, latch; did you mean "fenceline ls lock foo"?`},
		{[]string{"ls", "foo bar"}, `did you mean "fenceline ls lock "foo bar""?`},
		{[]string{"ls", "locks", "foo"}, `KIND "locks": it is none of lock, rwlock, election, semaphore`},
		{[]string{"ls", "session"}, `KIND "session"`},
		{[]string{"ls", "lock", ""}, `lock "": it is empty`},
		{[]string{"ls", "lock", "a", "b"}, `"b": one KIND and one NAME at most`},
		{[]string{"ls", "--prefix", "p", "lock"}, "--prefix is instead of KIND and NAME"},
		{[]string{"ls", "--namespace", ""}, "--namespace"},
	} {
		code, stdout, stderr := fenceline(test.args...)
		if code != 64 || stdout != "" || !strings.Contains(stderr, test.want) {
			t.Errorf("%.60q: code %d, stdout %q, stderr %q, want %q", test.args, code, stdout, stderr, test.want)
		}
	}
}

func TestHelpIsFoundOnEitherSideOfTheName(t *testing.T) {
	for _, args := range [][]string{{"lock", "--help"}, {"lock", "a", "-h"}, {"lock", "a", "-h", "true"}} {
		if code, stdout, _ := fenceline(args...); code != 0 || !strings.Contains(stdout, "Exit codes:") {
			t.Errorf("%q: code %d, stdout %.40q", args, code, stdout)
		}
	}
	if _, stdout, _ := fenceline("lock", "a", "no-such-command-anywhere", "-h"); stdout != "" {
		t.Error("the command's own -h was taken for ours")
	}
}

func TestLsShowsHolderAndWaitersInOrder(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	client := m.Client(t)
	release := hold(t, m, name)
	var waiters []*wrapper
	for i := range 2 {
		waiters = append(waiters, started(t, m.Endpoint(), "lock", name, "true"))
		entries(t, client, name, i+2)
	}
	code, stdout, stderr := fenceline("ls", "lock", name, "-o", "json", "--endpoints", m.Endpoint())
	var got inspect.Snapshot
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != 0 || len(got.Lines) != 1 || len(got.Lines[0].Entries) != 3 {
		t.Fatalf("code %d, %v: %s%s", code, err, stdout, stderr)
	}
	host, _ := os.Hostname()
	for i, e := range got.Lines[0].Entries {
		if want := []string{"holds", "waits", "waits"}[i]; e.State != want || e.Position != i+1 {
			t.Errorf("entry %d: %+v, want %s", i, e, want)
		}
		if want := []string{"sh", "true", "true"}[i]; e.Session == nil || e.Session.Name != want || e.Session.Host != host {
			t.Errorf("entry %d: %+v, want %s", i, e.Session, want)
		}
		if i > 0 && e.Session != nil && e.Session.PID != waiters[i-1].cmd.Process.Pid {
			t.Errorf("entry %d: pid %d", i, e.Session.PID)
		}
		resp, err := client.Get(t.Context(), e.Key)
		if err != nil || resp.Kvs[0].CreateRevision != e.Revision || e.Token.Revision() != e.Revision {
			t.Errorf("entry %d: token %d, %v, %v", i, e.Token, resp, err)
		}
	}
	for _, args := range [][]string{{"ls"}, {"ls", "lock"}} {
		if _, stdout, _ := fenceline(append(args, "--endpoints", m.Endpoint())...); strings.Count(stdout, name) != 3 {
			t.Errorf("%q: %s", args, stdout)
		}
	}
	release()
	for _, w := range waiters {
		w.exits(0)
	}
}

func TestLsShowsWhatOthersWrote(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	client := m.Client(t)
	lease, err := client.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	prefix := "other/" + name
	client.Put(t.Context(), fmt.Sprintf("%s/%x", prefix, lease.ID), "", clientv3.WithLease(lease.ID))
	client.Put(t.Context(), prefix+"-not", "") // a neighbour
	_, stdout, _ := fenceline("ls", "--prefix", prefix, "--endpoints", m.Endpoint())
	if lines := strings.Count(stdout, "\n"); lines != 2 || !strings.Contains(stdout, "unknown, lease") {
		t.Errorf("stdout %s", stdout)
	}
}

func TestLsOfNothingIsSilentOnStdout(t *testing.T) {
	m := etcdtest.Shared(t)
	code, stdout, stderr := fenceline("ls", "lock", etcdtest.Name(t), "--endpoints", m.Endpoint())
	if code != 0 || stdout != "" || !strings.Contains(stderr, "nobody") {
		t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestLsInAnotherNamespace(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	started(t, m.Endpoint(), "lock", "--namespace", name+"/", "n", etcdtest.Command(t), "ls", "--namespace", name+"/").exits(0)
	if _, stdout, _ := fenceline("ls", "lock", "n", "--endpoints", m.Endpoint()); stdout != "" {
		t.Errorf("stdout %s", stdout)
	}
}

func TestLsOfUnreachableEtcdIs69(t *testing.T) {
	code, stdout, stderr := fenceline("ls", "--endpoints", "127.0.0.1:1")
	if code != 69 || stdout != "" || !strings.Contains(stderr, "cannot reach etcd at 127.0.0.1:1") {
		t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestCompletionKnowsLiveNames(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)+"/a b"
	client := m.Client(t)
	for _, key := range []string{"1", "2"} {
		client.Put(t.Context(), "fenceline/lock/"+strings.ReplaceAll(name, "/", "%2F")+"/"+key, "")
	}
	client.Put(t.Context(), "fenceline/lock/\x1b[2J/1", "")
	defer client.Delete(t.Context(), "fenceline/lock/\x1b[2J/1")
	for _, args := range [][]string{
		{"lock", "--endpoints", m.Endpoint(), name[:len(name)-3]},
		{"ls", "--endpoints", m.Endpoint(), "lock", name[:len(name)-3]},
	} {
		code, stdout, _ := fenceline(append([]string{"__complete"}, args...)...)
		if lines := strings.Split(stdout, "\n"); code != 0 || !slices.Equal(lines[:len(lines)-2], []string{name}) {
			t.Errorf("%q: code %d, %q", args, code, lines)
		}
	}
	if _, stdout, _ := fenceline("__complete", "lock", "--endpoints", m.Endpoint(), ""); strings.Contains(stdout, "\x1b") {
		t.Errorf("%q", stdout)
	}
}

func TestCompletionFailsSilently(t *testing.T) {
	for _, args := range [][]string{
		{"--endpoints", "127.0.0.1:1", ""},
		{"--endpoints", "nonsense", ""},
		{"--user", "root", ""}, // would ask for the password
	} {
		began := time.Now()
		code, stdout, stderr := fenceline(append([]string{"__complete", "lock"}, args...)...)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("%q: took %v", args, took)
		}
		if code != 0 || stdout != ":4\n" || strings.Count(stderr, "\n") > 1 { // cobra's own line
			t.Errorf("%q: code %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
	}
}
