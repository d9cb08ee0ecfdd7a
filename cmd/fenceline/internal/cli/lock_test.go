package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

// wrapper is the built command, running.
type wrapper struct {
	t    *testing.T
	cmd  *exec.Cmd
	dir  string // $D in the scripts that it runs; its output is there as well
	done chan struct{}
}

// started starts the built command against the etcd at endpoint.
func started(t *testing.T, endpoint string, args ...string) *wrapper {
	t.Helper()
	return startedWith(t, endpoint, nil, args...)
}

func startedWith(t *testing.T, endpoint string, stdin io.Reader, args ...string) *wrapper {
	t.Helper()
	w := &wrapper{t: t, dir: t.TempDir(), done: make(chan struct{})}
	w.cmd = exec.Command(etcdtest.Command(t), args...)
	w.cmd.Stdin, w.cmd.Stdout, w.cmd.Stderr = stdin, create(t, w.dir, "stdout"), create(t, w.dir, "stderr")
	w.cmd.Env = append(os.Environ(), "FENCELINE_ENDPOINTS="+endpoint, "D="+w.dir)
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		w.cmd.Wait()
		close(w.done)
	}()
	t.Cleanup(func() {
		w.cmd.Process.Kill()
		<-w.done
	})
	return w
}

// create makes a file for output, which unlike a pipe needs nobody to wait for what holds it open.
func create(t *testing.T, dir, name string) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func (w *wrapper) stdout() string { return w.read("stdout") }
func (w *wrapper) stderr() string { return w.read("stderr") }

func (w *wrapper) read(file string) string {
	text, _ := os.ReadFile(filepath.Join(w.dir, file))
	return string(text)
}

// exits waits for the end and checks the exit code.
func (w *wrapper) exits(want int) {
	w.t.Helper()
	select {
	case <-w.done:
	case <-time.After(20 * time.Second):
		w.t.Fatalf("does not end; stderr: %s", w.stderr())
	}
	if got := w.cmd.ProcessState.ExitCode(); got != want {
		w.t.Errorf("%q: exit code %d, want %d; stderr: %s", w.cmd.Args[1:], got, want, w.stderr())
	}
}

func (w *wrapper) says(want string) {
	w.t.Helper()
	if got := w.stderr(); !strings.Contains(got, want) {
		w.t.Errorf("stderr %q, want %q in it", got, want)
	}
}

func (w *wrapper) signal(sig syscall.Signal) { w.cmd.Process.Signal(sig) }

// until waits for a script to write a line into a file, and returns it.
func (w *wrapper) until(file string) string {
	w.t.Helper()
	var text string
	etcdtest.Eventually(w.t, 10*time.Second, "the command writes "+file, func() bool {
		text = w.read(file)
		return strings.HasSuffix(text, "\n")
	})
	return strings.TrimSpace(text)
}

func entries(t *testing.T, client *clientv3.Client, name string, want int) []string {
	t.Helper()
	var keys []string
	etcdtest.Eventually(t, 10*time.Second, fmt.Sprintf("%d entries of %s", want, name), func() bool {
		keys = etcdtest.Keys(t, client, "fenceline/lock/"+name+"/")
		return len(keys) == want
	})
	return keys
}

// hold holds a lock until the test ends, or release is called.
func hold(t *testing.T, m *etcdtest.Member, name string) (release func()) {
	t.Helper()
	in, end := pipe(t)
	w := startedWith(t, m.Endpoint(), in, "lock", name, "sh", "-c", "echo > $D/held; cat")
	w.until("held")
	return func() { end(); w.exits(0) }
}

func pipe(t *testing.T) (*os.File, func()) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, func() { w.Close() }
}

// The first seven are what etcdctl lock gets wrong.

func TestCommandNeedsNoDashes(t *testing.T) {
	m := etcdtest.Shared(t)
	for _, args := range [][]string{
		{"lock", etcdtest.Name(t), "sh", "-c", "exit 5"},
		{"lock", etcdtest.Name(t), "--", "sh", "-c", "exit 5"},
		{"lock", "-n", etcdtest.Name(t), "sh", "-c", "exit 5"},
		{"lock", etcdtest.Name(t), "-n", "--ttl", "5", "--", "sh", "-c", "exit 5"},
	} {
		started(t, m.Endpoint(), args...).exits(5)
	}
}

func TestExitCodeIsTheCommandsOrAShells(t *testing.T) {
	m, plain := etcdtest.Shared(t), filepath.Join(t.TempDir(), "plain")
	writeFile(t, plain, "")
	for _, test := range []struct {
		command []string
		code    int
	}{
		{[]string{"true"}, 0},
		{[]string{"sh", "-c", "exit 3"}, 3},
		{[]string{"sh", "-c", "kill -TERM $$"}, 143},
		{[]string{"no-such-command-anywhere"}, 127},
		{[]string{plain}, 126},
	} {
		w := started(t, m.Endpoint(), append([]string{"lock", etcdtest.Name(t), "--"}, test.command...)...)
		w.exits(test.code)
		if test.code == 126 || test.code == 127 {
			w.says(test.command[0])
		}
	}
}

func TestStdinReachesTheCommand(t *testing.T) {
	w := startedWith(t, etcdtest.Shared(t).Endpoint(), strings.NewReader("hi\n"), "lock", etcdtest.Name(t), "cat")
	w.exits(0)
	if got := w.stdout(); got != "hi\n" {
		t.Errorf("stdout %q, want what came in", got)
	}
}

func TestSIGTERMEndsTheCommandAndTheWrapper(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	w := started(t, m.Endpoint(), "lock", name, "sh", "-c", `trap 'echo > $D/term; exit 9' TERM; echo > $D/ready; while :; do sleep 0.01; done`)
	w.until("ready")
	w.signal(syscall.SIGTERM)
	w.exits(9)
	w.until("term")
	entries(t, m.Client(t), name, 0)
}

func TestRevokedLeaseEndsTheCommandWith75AndAMessage(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	client := m.Client(t)
	w := started(t, m.Endpoint(), "lock", "--ttl", "3", name, "sh", "-c", `trap 'echo > $D/term' TERM; echo $FENCELINE_LEASE > $D/lease; while :; do sleep 0.01; done`)
	lease, err := strconv.ParseInt(w.until("lease"), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Revoke(t.Context(), clientv3.LeaseID(lease)); err != nil {
		t.Fatal(err)
	}
	w.exits(75)
	w.until("term")
	w.says("lost: lease does not exist any more")
}

func TestDeletedEntryEndsTheCommandWith75(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	w := started(t, m.Endpoint(), "lock", name, "sh", "-c", `echo > $D/ready; while :; do sleep 0.01; done`)
	w.until("ready")
	if _, err := m.Client(t).Delete(t.Context(), entries(t, m.Client(t), name, 1)[0]); err != nil {
		t.Fatal(err)
	}
	w.exits(75)
	w.says("entry deleted or overwritten")
}

// A loss that comes too late to end the command is told all the same.
func TestLossFoundAtTheEndIs75(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	in, end := pipe(t)
	w := startedWith(t, m.Endpoint(), in, "lock", name, "sh", "-c", "echo > $D/ready; cat")
	w.until("ready")
	client := m.Client(t)
	if _, err := client.Delete(t.Context(), entries(t, client, name, 1)[0]); err != nil {
		t.Fatal(err)
	}
	end()
	w.exits(75)
	w.says("lost while the command ran")
}

func TestNoLeaseAndNoKeyIsLeftBehind(t *testing.T) {
	m := etcdtest.Start(t)
	client := m.Client(t)
	for command, code := range map[string]int{"exit 0": 0, "exit 3": 3, "kill -KILL $$": 137} {
		started(t, m.Endpoint(), "lock", "n", "sh", "-c", command).exits(code)
	}
	noInterpreter := filepath.Join(t.TempDir(), "script") // fails after the lock was acquired
	writeFile(t, noInterpreter, "#!/does/not/exist\n")
	os.Chmod(noInterpreter, 0o755)
	started(t, m.Endpoint(), "lock", "n", noInterpreter).exits(127)
	if leases, keys := etcdtest.Leases(t, client), etcdtest.Keys(t, client, ""); len(leases) > 0 || len(keys) > 0 {
		t.Errorf("left behind: leases %v, keys %q", leases, keys)
	}
}

func TestTryAndTimeoutEndWithTheConflictCode(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	release := hold(t, m, name)
	for _, test := range []struct {
		flags []string
		code  int
		says  string
	}{
		{[]string{"-n"}, 1, "held by sh on host "},
		{[]string{"-n", "-E", "99"}, 99, "held by sh on host "},
		{[]string{"-w", "0"}, 1, "held by sh on host "},
		{[]string{"-w", "0.2"}, 1, "not free within 200ms"},
		{[]string{"-w", "200ms", "-E", "7"}, 7, "not free within 200ms"},
		{[]string{"-n", "--skip-ok"}, 0, ""},
		{[]string{"-w", "0.1", "--skip-ok"}, 0, ""},
	} {
		w := started(t, m.Endpoint(), append(append([]string{"lock"}, test.flags...), name, "sh", "-c", "exit 42")...)
		w.exits(test.code)
		w.says(test.says)
		if test.says == "" && w.stderr() != "" {
			t.Errorf("%q: said %q", test.flags, w.stderr())
		}
	}
	entries(t, m.Client(t), name, 1)
	release()
	started(t, m.Endpoint(), "lock", "-n", name, "sh", "-c", "exit 42").exits(42)
}

func TestTokenOfAWaiterIsOfItsEntrysCreateRevision(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	client := m.Client(t)
	release := hold(t, m, name)
	in, end := pipe(t)
	w := startedWith(t, m.Endpoint(), in, "lock", "-w", "10", name, "--", "sh", "-c",
		`echo $FENCELINE_LOCK_NAME $FENCELINE_TOKEN $FENCELINE_KEY $FENCELINE_LEASE $FENCELINE_ENDPOINTS $ETCD_LOCK_KEY $ETCD_LOCK_REV > $D/env; cat`)
	entries(t, client, name, 2)
	release()
	env := strings.Fields(w.until("env"))
	resp, err := client.Get(t.Context(), env[2])
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatalf("key %q: %v, %v", env[2], resp, err)
	}
	revision := resp.Kvs[0].CreateRevision
	token, lease := fence.TokenAt(revision, 0).String(), fmt.Sprintf("%x", resp.Kvs[0].Lease)
	if got, want := strings.Join(env, " "), strings.Join([]string{name, token, env[2], lease, m.Endpoint(), env[2], fmt.Sprint(revision)}, " "); got != want {
		t.Errorf("environment: %s\nin etcd:     %s", got, want)
	}
	txn, err := client.Txn(t.Context()).If(clientv3.Compare(clientv3.CreateRevision(env[5]), "=", revision)).Commit()
	if err != nil || !txn.Succeeded {
		t.Errorf("the token guards nothing: %v, %v", txn, err)
	}
	end()
	w.exits(0)
}

func TestUnreachableEtcdIs69(t *testing.T) {
	t.Parallel()
	w := started(t, "127.0.0.1:1", "lock", "--command-timeout", "300ms", "x", "true")
	w.exits(69)
	w.says("cannot reach etcd at 127.0.0.1:1")
}

func TestVerboseSaysHowLongTheWaitWas(t *testing.T) {
	w := started(t, etcdtest.Shared(t).Endpoint(), "lock", "--verbose", etcdtest.Name(t), "true")
	w.exits(0)
	w.says("acquired after ")
}

// The command's environment names its entry FENCELINE_KEY, which is also what --key is called there.
func TestCommandMayRunFencelineInItsTurn(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	self := etcdtest.Command(t)
	w := started(t, m.Endpoint(), "lock", name, self, "lock", name+"-inner", self, "ls", "lock", name)
	w.exits(0)
	if !strings.Contains(w.stdout(), name) {
		t.Errorf("stdout %q", w.stdout())
	}
}

func TestClosedStderrEndsNeitherWrapperNorCommand(t *testing.T) {
	r, broken, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer broken.Close()
	r.Close()
	cmd := exec.Command(etcdtest.Command(t), "lock", "--verbose", etcdtest.Name(t), "sh", "-c", "kill -PIPE $$; exit 6")
	cmd.Env = append(os.Environ(), "FENCELINE_ENDPOINTS="+etcdtest.Shared(t).Endpoint())
	cmd.Stderr = broken
	cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != 141 { // and the command does not inherit an ignored SIGPIPE
		t.Errorf("%v, want exit code 141", cmd.ProcessState)
	}
}

func TestRefusedByEtcdIs69AndNamesTheKeys(t *testing.T) {
	m := etcdtest.Start(t)
	c := m.Client(t)
	enableAuth(t, c)
	for _, args := range [][]string{{"lock", "x", "true"}, {"ls"}} {
		w := started(t, m.Endpoint(), append([]string{args[0], "--user", "bob:secret"}, args[1:]...)...)
		w.exits(69)
		w.says(`etcd denies access to keys "fenceline/"`)
	}
}

func TestSayingDoesNotWaitForAReader(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	say, done := app.Talk(w, "x: "), make(chan struct{})
	go func() {
		defer close(done)
		for range 3 {
			say("%s", strings.Repeat("y", 100_000)) // more than a pipe holds
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("it waits")
	}
	w.Close() // and the goroutines with it
	if _, err := io.Copy(io.Discard, r); err != nil && !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
}
