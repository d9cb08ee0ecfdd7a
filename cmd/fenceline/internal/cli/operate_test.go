package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

func TestWrongOperatorsCommandLinesAre64BeforeAnyRequest(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"who"}, "NAME is missing"},
		{[]string{"who", "a", "b"}, `KIND "a": it is none of lock`},
		{[]string{"who", "lock", "a", "b"}, `"b": one KIND and one NAME at most`},
		{[]string{"who", ""}, `line "": it is empty`},
		{[]string{"who", "--prefix", "p", "a"}, "--prefix is instead of KIND and NAME"},
		{[]string{"who", "--namespace", "", "a"}, "--namespace: it is empty"},
		{[]string{"history"}, "NAME is missing"},
		{[]string{"history", "session", "a"}, `KIND "session"`},
		{[]string{"sessions", "a"}, `"a": one argument too many`},
		{[]string{"deadlocks", "--namespace", ""}, "--namespace: it is empty"},
		{[]string{"release", "a"}, "--reason is missing"},
		{[]string{"release", "a", "--reason", "x", "-w", "-1"}, "it is negative"},
		{[]string{"release", "a", "--force", "--reason", "x", "-w", "1"}, "--force and -w exclude each other"},
		{[]string{"release", "a", "--force"}, "--reason is missing, or empty"},
		{[]string{"release", "a", "--force", "--reason", ""}, "--reason is missing, or empty"},
		{[]string{"release", "a", "--force", "--reason", "x", "--token", "y"}, `--token "y": it is no token`},
	} {
		code, stdout, stderr := fenceline(test.args...)
		if code != 64 || stdout != "" || !strings.Contains(stderr, test.want) {
			t.Errorf("%q: code %d, stdout %q, stderr %q, want %q", test.args, code, stdout, stderr, test.want)
		}
	}
}

func TestOperatorsCommandsOfUnreachableEtcdAre69(t *testing.T) {
	for _, args := range [][]string{{"who", "a"}, {"history", "a"}, {"sessions"}, {"deadlocks"}, {"release", "a", "--force", "--reason", "x"}} {
		if code, stdout, stderr := fenceline(append(args, "--endpoints", "127.0.0.1:1")...); code != 69 || stdout != "" || !strings.Contains(stderr, "cannot reach etcd") {
			t.Errorf("%q: code %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
	}
}

func TestWhoSaysWhoHoldsAndOneIsNobody(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	if code, stdout, stderr := fenceline("who", name, "--endpoints", m.Endpoint()); code != 1 || stdout != "" || !strings.Contains(stderr, "nobody holds") {
		t.Errorf("code %d, %q, %q", code, stdout, stderr)
	}
	release := hold(t, m, name)
	code, stdout, stderr := fenceline("who", name, "--endpoints", m.Endpoint())
	if code != 0 || !strings.HasPrefix(stdout, "lock "+name+": sh@") || strings.Count(stdout, "\n") != 1 {
		t.Errorf("code %d, %q, %q", code, stdout, stderr)
	}
	other := holdWith(t, m, "-s", name)
	if code, _, stderr := fenceline("who", name, "--endpoints", m.Endpoint()); code != 64 || !strings.Contains(stderr, "say which KIND") {
		t.Errorf("of two kinds: code %d, %q", code, stderr)
	}
	if code, stdout, _ := fenceline("who", "rwlock", name, "--endpoints", m.Endpoint(), "-o", "json"); code != 0 || !strings.Contains(stdout, `"lease_left_seconds"`) {
		t.Errorf("as JSON: code %d, %q", code, stdout)
	}
	release()
	other()
}

func TestReleaseBreaksTheHoldThatWasLookedAtAndHistoryTells(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	at := []string{"--endpoints", m.Endpoint()}
	client := m.Client(t)
	w := started(t, m.Endpoint(), "lock", name, "sh", "-c", "echo > $D/in; sleep 60")
	w.until("in")
	token := lsJSON(t, m, "lock", name).Lines[0].Entries[0].Token.String()
	next := started(t, m.Endpoint(), "lock", name, "true")
	entries(t, client, name, 2)
	if code, _, stderr := fenceline(append([]string{"release", name, "--force", "--reason", "x", "--token", "4096"}, at...)...); code != 1 || !strings.Contains(stderr, "with token 4096") {
		t.Errorf("of another token: code %d, %q", code, stderr)
	}
	code, stdout, stderr := fenceline(append([]string{"release", name, "--force", "--reason", "it hangs", "--token", token}, at...)...)
	if code != 0 || stdout != "" || !strings.Contains(stderr, "is broken") {
		t.Errorf("code %d, %q, %q", code, stdout, stderr)
	}
	w.exits(75)
	w.says("lost: hold broken by ")
	w.says(": it hangs")
	next.exits(0)
	if code, _, _ := fenceline(append([]string{"release", name, "--force", "--reason", "x", "--token", token}, at...)...); code != 1 {
		t.Errorf("a second time: code %d", code)
	}
	code, stdout, stderr = fenceline(append([]string{"history", name, "-o", "json"}, at...)...)
	var got struct{ Held []inspect.Held }
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != 0 || len(got.Held) != 2 {
		t.Fatalf("code %d, %v, %s%s", code, err, stdout, stderr)
	}
	if first, second := got.Held[0], got.Held[1]; first.End != inspect.EndBroken || first.Broken.Reason != "it hangs" || second.End == inspect.EndBroken {
		t.Errorf("%+v", got.Held)
	}
	if _, stdout, _ := fenceline(append([]string{"history", name}, at...)...); strings.Count(stdout, "\n") != 3 || !strings.Contains(stdout, "broken") {
		t.Errorf("%s", stdout)
	}
	if code, _, stderr := fenceline(append([]string{"history", name + "-unused"}, at...)...); code != 1 || !strings.Contains(stderr, "nobody has held lock") {
		t.Errorf("of nobody: code %d, %q", code, stderr)
	}
}

func TestReleaseAsksTheHolderWhoseCommandMayKeepIt(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	ask := func(wait string) (int, string) {
		code, stdout, stderr := fenceline("release", name, "--reason", "maintenance", "-w", wait, "--endpoints", m.Endpoint())
		if stdout != "" {
			t.Errorf("stdout %q", stdout)
		}
		return code, stderr
	}
	if code, stderr := ask("1"); code != 1 || !strings.Contains(stderr, "nobody holds") {
		t.Errorf("of nobody: code %d, %q", code, stderr)
	}
	w := started(t, m.Endpoint(), "lock", name, "sh", "-c", "trap 'echo > $D/asked' TERM; echo > $D/in; while [ ! -e $D/end ]; do sleep 0.05; done")
	w.until("in")
	code, stderr := ask("3")
	if code != 1 || !strings.Contains(stderr, "is asked to give back") || !strings.Contains(stderr, "keeps it; --force breaks it") {
		t.Errorf("of one who keeps it: code %d, %q", code, stderr)
	}
	w.until("asked")
	if err := os.WriteFile(filepath.Join(w.dir, "end"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.exits(0)
	w.says(" asks for it to be given back: maintenance: sending SIGTERM")
	next := started(t, m.Endpoint(), "lock", name, "sh", "-c", "echo > $D/in; exec sleep 60")
	next.until("in")
	if code, stderr := ask("30"); code != 0 || !strings.Contains(stderr, "is given back") {
		t.Errorf("of one who gives it back: code %d, %q", code, stderr)
	}
	next.exits(143)
}

// Each of two commands runs another under the lock that the other one has.
func TestDeadlockOfTwoCommandsIsFoundAndEndedByTwoOthers(t *testing.T) {
	m, a := etcdtest.Start(t), "a"
	at := []string{"--endpoints", m.Endpoint()}
	if code, stdout, stderr := fenceline(append([]string{"deadlocks"}, at...)...); code != 0 || stdout != "" || !strings.Contains(stderr, "no deadlock") {
		t.Errorf("of nobody: code %d, %q, %q", code, stdout, stderr)
	}
	nest := func(outer, inner string) *wrapper {
		return started(t, m.Endpoint(), "lock", outer, "--", "sh", "-c", "sleep 0.5; "+etcdtest.Command(t)+" lock "+inner+" -- true")
	}
	one, two := nest(a, "b"), nest("b", a)
	etcdtest.Eventually(t, 20*time.Second, "the deadlock", func() bool {
		code, stdout, _ := fenceline(append([]string{"deadlocks"}, at...)...)
		return code == 1 && strings.HasPrefix(stdout, "deadlock\n") && strings.Count(stdout, " waits for lock ") == 2
	})
	if code, stdout, _ := fenceline(append([]string{"deadlocks", "-o", "json"}, at...)...); code != 1 || strings.Count(stdout, `"waits"`) != 1 {
		t.Errorf("as JSON: code %d, %s", code, stdout)
	}
	if code, _, stderr := fenceline(append([]string{"release", a, "--force", "--reason", "deadlock"}, at...)...); code != 0 {
		t.Fatalf("code %d, %s", code, stderr)
	}
	one.exits(75)
	two.exits(0)
	code, stdout, _ := fenceline(append([]string{"sessions", "-o", "json"}, at...)...)
	if code != 0 || !strings.Contains(stdout, `"sessions": [`) {
		t.Errorf("code %d, %s", code, stdout)
	}
}

func TestSessionsShowWhatEachHolds(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	release := hold(t, m, name)
	code, stdout, stderr := fenceline("sessions", "--endpoints", m.Endpoint())
	found := false
	for line := range strings.Lines(stdout) {
		found = found || strings.HasPrefix(line, "sh ") && strings.Contains(line, "lock "+name)
	}
	if code != 0 || !found {
		t.Errorf("code %d, %s%s", code, stdout, stderr)
	}
	release()
}

func TestDoctorFindsWhatIsWrongAndSaysWhatToDo(t *testing.T) {
	m := etcdtest.Start(t)
	if code, stdout, stderr := fenceline("doctor", "--endpoints", m.Endpoint()); code != 0 || stdout != "" || !strings.Contains(stderr, "nothing is wrong") {
		t.Errorf("of a new etcd: code %d, %q, %q", code, stdout, stderr)
	}
	if _, err := m.Client(t).Put(t.Context(), "fenceline/lock/x/1", ""); err != nil {
		t.Fatal(err)
	}
	code, stdout, _ := fenceline("doctor", "--endpoints", m.Endpoint())
	if code != 1 || !strings.HasPrefix(stdout, `BAD  lock "x": its first entry has no lease`) || !strings.Contains(stdout, "etcdctl del fenceline/lock/x/1") {
		t.Errorf("code %d, %q", code, stdout)
	}
	code, stdout, _ = fenceline("doctor", "--endpoints", m.Endpoint()+",127.0.0.1:1", "-o", "json")
	var got struct {
		Findings []struct {
			Fails    bool
			What, Do string
		}
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != 1 || len(got.Findings) != 2 {
		t.Errorf("beside one that is down: code %d, %v, %s", code, err, stdout)
	}
	if code, _, stderr := fenceline("doctor", "--namespace", ""); code != 64 || !strings.Contains(stderr, "--namespace") {
		t.Errorf("code %d, %s", code, stderr)
	}
}

func TestDoctorSaysThatThereIsNoQuorum(t *testing.T) {
	c := etcdtest.StartCluster(t, 3)
	for _, m := range c.Members[1:] {
		m.Kill()
	}
	code, stdout, stderr := fenceline("doctor", "--endpoints", c.Members[0].Endpoint())
	if code != 1 || !strings.Contains(stdout, "BAD  the quorum does not answer") {
		t.Errorf("code %d, %q, %q", code, stdout, stderr)
	}
}
