package cli

import (
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/registry"
)

func TestLockUnderARawPrefixExcludesEtcdsOwn(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	s, err := concurrency.NewSession(m.Client(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	theirs := concurrency.NewMutex(s, name)
	if err := theirs.Lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := fenceline("lock", "--endpoints", m.Endpoint(), "--prefix", name, "-n", "x", "--", "true")
	if code != 1 || !strings.Contains(stderr, `lock "x"`) {
		t.Errorf("while etcd's holds: code %d, %s", code, stderr)
	}
	if err := theirs.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := started(t, m.Endpoint(), "lock", "--prefix", name, "x", "--", "sh", "-c", "echo $FENCELINE_KEY > $D/key; sleep 60")
	w.until("key")
	if key := strings.TrimSpace(w.read("key")); !strings.HasPrefix(key, name+"/") {
		t.Errorf("key %q", key)
	}
	if err := theirs.TryLock(t.Context()); err != concurrency.ErrLocked {
		t.Errorf("while ours holds: %v", err)
	}
	w.signal(syscall.SIGTERM)
	w.exits(143)
	for args, says := range map[string]string{
		"--prefix x -s a -- true":   "--prefix is for one NAME",
		"--prefix x a b -- true":    "--prefix is for one NAME",
		"--prefix fenceline a true": "is inside of it",
		"--prefix= a true":          "--prefix",
	} {
		code, _, stderr := fenceline(append([]string{"lock"}, strings.Fields(args)...)...)
		if code != 64 || !strings.Contains(stderr, says) {
			t.Errorf("%s: code %d, %s", args, code, stderr)
		}
	}
}

// A fenceline under a fenceline reaches the same etcd, however the outer one was told of it.
func TestNestedCommandHasTheWholeConnection(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Start(t, etcdtest.WithTLS()), etcdtest.Name(t)
	w := started(t, m.Endpoint(), "lock", "--cacert", m.CACert(), "--command-timeout", "7s", name+"-outer", "--", etcdtest.Command(t), "lock", name+"-inner", "--", "sh", "-c",
		"echo $FENCELINE_COMMAND_TIMEOUT > $D/inner")
	w.until("inner")
	w.exits(0)
	if got := strings.TrimSpace(w.read("inner")); got != "7s" {
		t.Errorf("--command-timeout is %q inside", got)
	}
}

func TestMembersNeedNotBeVerified(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t, etcdtest.WithTLS())
	if code, _, _ := fenceline("ls", "--endpoints", m.Endpoint(), "--dial-timeout", "300ms", "--command-timeout", "600ms"); code != 69 {
		t.Errorf("without: code %d", code)
	}
	if code, _, stderr := fenceline("ls", "--endpoints", m.Endpoint(), "--insecure-skip-tls-verify"); code != 0 {
		t.Errorf("with: code %d, %s", code, stderr)
	}
	bare := strings.TrimPrefix(m.Endpoint(), "https://")
	if code, _, stderr := fenceline("ls", "--endpoints", bare, "--insecure-transport=false", "--cacert", m.CACert()); code != 0 {
		t.Errorf("TLS without a scheme: code %d, %s", code, stderr)
	}
	for flag, says := range map[string]string{"--insecure-transport=false": "that one speaks no TLS", "--keepalive-time=0": "must be positive"} {
		if code, _, stderr := fenceline("ls", "--endpoints", "http://127.0.0.1:1", flag); code != 64 || !strings.Contains(stderr, says) {
			t.Errorf("%s: code %d, %s", flag, code, stderr)
		}
	}
}

func TestDefaultsComeFromTheEnvironment(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	t.Setenv("FENCELINE_NAMESPACE", name+"/")
	t.Setenv("FENCELINE_OUTPUT", "json")
	t.Setenv("FENCELINE_TTL", "7")
	w := started(t, m.Endpoint(), "lock", "a", "--", "sh", "-c", "echo > $D/in; sleep 60")
	w.until("in")
	if keys := etcdtest.Keys(t, m.Client(t), name+"/lock/a/"); len(keys) != 1 {
		t.Errorf("%q", keys)
	}
	if code, stdout, stderr := fenceline("ls", "--endpoints", m.Endpoint()); code != 0 || !strings.HasPrefix(stdout, "{") || !strings.Contains(stdout, `"a"`) {
		t.Errorf("code %d: %s%s", code, stdout, stderr)
	}
	if code, stdout, stderr := fenceline("ls", "-o", "table", "--namespace", "other/", "--endpoints", m.Endpoint()); code != 0 || strings.Contains(stdout, "{") {
		t.Errorf("code %d: %s%s", code, stdout, stderr)
	}
	w.signal(syscall.SIGTERM)
	w.exits(143)
	t.Setenv("FENCELINE_TTL", "x")
	if code, _, stderr := fenceline("lock", "a", "--", "true"); code != 64 || !strings.Contains(stderr, "FENCELINE_TTL") {
		t.Errorf("code %d: %s", code, stderr)
	}
}

func TestKilledRegisterTakesTheCommandWithIt(t *testing.T) {
	w := started(t, etcdtest.Shared(t).Endpoint(), "register", "--ttl", "2", serviceName(t), "127.0.0.1:9", "--", "sh", "-c", beats)
	w.until("pid")
	w.signal(syscall.SIGKILL)
	w.commandIsDead()
}

func TestDrainingInstanceIsNeverUpAgain(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), serviceName(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	statuses := make(chan registry.Status, 100)
	go func() {
		for ins, err := range registry.Watch(t.Context(), m.Client(t), name) {
			if err == nil && len(ins) == 1 {
				statuses <- ins[0].Status
			}
		}
	}()
	w := started(t, m.Endpoint(), "register", name, addr, "--wait-open", "--drain", "2", "--", "sh", "-c", "echo > $D/in; exec sleep 60")
	if got := <-statuses; got != registry.Starting {
		t.Errorf("at first: %v", got)
	}
	w.until("in") // before that a signal is an interruption
	w.signal(syscall.SIGTERM)
	for got := range statuses {
		if got == registry.Draining {
			break
		}
	}
	l, err := net.Listen("tcp", addr) // the command is ready only now
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w.exits(143)
	for len(statuses) > 0 {
		if got := <-statuses; got != registry.Draining {
			t.Errorf("after it drained: %v", got)
		}
	}
}

func TestFirstProcessOfAContainerBuriesOrphans(t *testing.T) {
	t.Parallel()
	if err := exec.Command("unshare", "--pid", "--fork", "--mount-proc", "true").Run(); err != nil {
		t.Skip("needs namespaces: ", err)
	}
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	script := "for i in 1 2 3 4 5 6 7 8; do (setsid sleep 0.2 &); done; sleep 2.5; ps -eo ppid,stat,comm | grep -c ' Z' || true"
	cmd := exec.CommandContext(t.Context(), "unshare", "--pid", "--fork", "--mount-proc", etcdtest.Command(t), "lock", "--endpoints", m.Endpoint(), name, "--", "sh", "-c", script)
	done := make(chan struct{})
	var out []byte
	var err error
	go func() { defer close(done); out, err = cmd.CombinedOutput() }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("it does not end")
	}
	if err != nil || strings.TrimSpace(string(out)) != "0" {
		t.Errorf("%v: zombies: %s", err, out)
	}
}
