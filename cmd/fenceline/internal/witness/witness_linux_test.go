package witness

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/internal/witness"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// The test binary is also the process that leads, and may be killed: FENCELINE_TEST_LEAD says of what.
func TestMain(m *testing.M) {
	if name := os.Getenv("FENCELINE_TEST_LEAD"); name != "" {
		lead(name)
		return
	}
	os.Exit(m.Run())
}

// lead leads until it is killed. Its first word is that it does.
func lead(name string) {
	fail := func(err error) {
		if err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{os.Getenv("FENCELINE_TEST_ETCD")}})
	fail(err)
	s, err := session.Open(context.Background(), client, session.WithTTL(60*time.Second), session.WithLogger(slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	fail(err)
	if os.Getenv("FENCELINE_TEST_DO") == "lock" {
		_, err = lock.New(s, name).Acquire(context.Background())
	} else {
		_, err = election.New(s, name).Campaign(context.Background(), "")
	}
	fail(err)
	switch do := os.Getenv("FENCELINE_TEST_DO"); do {
	case "child": // one that nobody is told of, in a session of its own, that ignores SIGTERM
		cmd := exec.Command("sh", "-c", `trap "" TERM; sleep 2`)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		fail(cmd.Start())
	case "told child":
		fail(s.SetChildren(true))
	case "panic":
		fmt.Println("leads")
		time.Sleep(time.Second)
		panic("as told")
	case "orphan":
		fail(s.Orphan(context.Background()))
		fmt.Printf("leads %x\n", int64(s.Lease()))
		select {}
	}
	fmt.Println("leads")
	select {}
}

// leader is such a process.
type leader struct {
	*exec.Cmd
	out  *bufio.Reader
	told bool // it has said that it has told a witness
}

func start(t testing.TB, m *etcdtest.Member, name, socket, do string, prefix ...string) *leader {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append(prefix, self)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "FENCELINE_TEST_LEAD="+name, "FENCELINE_TEST_ETCD="+m.Endpoint(), "FENCELINE_TEST_DO="+do)
	if socket != "" {
		cmd.Env = append(cmd.Env, witness.Variable+"="+socket)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // a witness ends what it runs, if it may
		_ = cmd.Process.Signal(syscall.SIGTERM)
		defer time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() }).Stop()
		_ = cmd.Wait()
	})
	l := &leader{Cmd: cmd, out: bufio.NewReader(out)}
	line := l.read(t)
	for strings.HasPrefix(line, "time=") { // its log
		l.told = l.told || strings.Contains(line, "the witness is told")
		line = l.read(t)
	}
	if !strings.HasPrefix(line, "leads") {
		t.Fatalf("it says %q", line)
	}
	return l
}

func (l *leader) read(t testing.TB) string {
	t.Helper()
	line, err := l.out.ReadString('\n')
	if err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	return strings.TrimSpace(line)
}

// agent serves within this process.
func agent(t testing.TB, m *etcdtest.Member) (socket string, s *witness.Server, stop func()) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "witness")
	l, err := witness.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	s = &witness.Server{Cluster: witness.Etcd(m.Client(t)), Log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return socket, s, stop
}

// told waits until the witness knows as many leases.
func told(t testing.TB, s *witness.Server, n int) {
	t.Helper()
	etcdtest.Eventually(t, 10*time.Second, fmt.Sprintf("%d leases are told", n), func() bool { return s.Told() == n })
}

// next stands as a candidate, and says when it leads.
func next(t testing.TB, m *etcdtest.Member, name string) <-chan time.Time {
	t.Helper()
	s, err := session.Open(t.Context(), m.Client(t), session.WithWitness(""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	leads := make(chan time.Time, 1)
	go func() {
		if _, err := election.New(s, name).Campaign(t.Context(), ""); err == nil {
			leads <- time.Now()
		}
	}()
	etcdtest.Eventually(t, 10*time.Second, "it stands", func() bool {
		return len(etcdtest.Keys(t, m.Client(t), "fenceline/election/"+name+"/")) >= 2
	})
	return leads
}

func within(t *testing.T, leads <-chan time.Time, d time.Duration) {
	t.Helper()
	select {
	case <-leads:
	case <-time.After(d):
		t.Fatalf("nobody leads after %v", d)
	}
}

func not(t *testing.T, leads <-chan time.Time, d time.Duration) {
	t.Helper()
	select {
	case <-leads:
		t.Fatal("another leads")
	case <-time.After(d):
	}
}

// The TTL is a minute: whoever leads within ten seconds does not owe it to that.
func TestProcessThatIsKilledIsReplacedAtOnce(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	socket, s, _ := agent(t, m)
	l := start(t, m, name, socket, "")
	told(t, s, 1)
	leads := next(t, m, name)
	if err := l.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	within(t, leads, 10*time.Second)
}

func TestProcessThatPanicsIsReplacedAtOnce(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	socket, s, _ := agent(t, m)
	l := start(t, m, name, socket, "panic")
	told(t, s, 1)
	leads := next(t, m, name)
	_ = l.Wait()
	within(t, leads, 10*time.Second)
}

func TestEndOfAConnectionIsNoDeath(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	socket, s, stop := agent(t, m)
	l := start(t, m, name, socket, "")
	told(t, s, 1)
	leads := next(t, m, name)
	stop() // all connections end
	not(t, leads, 2*time.Second)
	if err := l.Process.Signal(syscall.SIGSTOP); err != nil { // and a process that stands still is not dead
		t.Fatal(err)
	}
	not(t, leads, time.Second)
	if err := l.Process.Kill(); err != nil { // nor does anybody give back what it held when the witness is gone: the TTL decides
		t.Fatal(err)
	}
	not(t, leads, 2*time.Second)
}

// What a dead process has sent may arrive yet: whoever wants to wait for that, waits.
func TestDeathThatIsWitnessedCountsForTheTakeoverDelay(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	socket, s, _ := agent(t, m)
	l := start(t, m, name, socket, "lock")
	told(t, s, 1)
	waiter, err := session.Open(t.Context(), m.Client(t), session.WithWitness(""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = waiter.Close(context.Background()) })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	got := make(chan error, 1)
	go func() {
		_, err := lock.New(waiter, name, lock.WithTakeoverDelay(2*time.Second)).Acquire(ctx)
		got <- err
	}()
	etcdtest.Eventually(t, 10*time.Second, "it waits", func() bool { return len(etcdtest.Keys(t, m.Client(t), "fenceline/lock/"+name+"/")) == 2 })
	began := time.Now()
	if err := l.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("it holds %v after the death, and wanted to wait for 2 s", took)
	}
}

// An agent that was restarted is told again.
func TestAgentThatComesBackIsTold(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	socket, s, stop := agent(t, m)
	l := start(t, m, name, socket, "")
	told(t, s, 1)
	stop()
	again, err := witness.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	s = &witness.Server{Cluster: witness.Etcd(m.Client(t)), Log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { _ = s.Serve(ctx, again) }()
	told(t, s, 1)
	leads := next(t, m, name)
	if err := l.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	within(t, leads, 10*time.Second)
}

func TestChildrenThatMayActKeepAnAgentFromGivingBack(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	socket, s, _ := agent(t, m)
	l := start(t, m, name, socket, "told child")
	told(t, s, 1)
	leads := next(t, m, name)
	if err := l.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	not(t, leads, 3*time.Second)
}

// Another process goes on under the lease: the end of the first one is none of its.
func TestLeaseThatWasOrphanedIsLeftAlone(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	socket, _, _ := agent(t, m)
	l := start(t, m, name, socket, "orphan")
	leads := next(t, m, name)
	if err := l.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	not(t, leads, 3*time.Second)
}

// A path that leads nowhere, or to what is no witness, is a warning, and changes nothing.
func TestWitnessThatCannotBeReachedIsAWarning(t *testing.T) {
	t.Parallel()
	m, dir := etcdtest.Shared(t), t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	deaf, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: filepath.Join(dir, "deaf"), Net: "unixpacket"}) // it says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	for _, path := range []string{filepath.Join(dir, "nowhere"), plain, deaf.Addr().String()} {
		var log safeBuffer
		s, err := session.Open(t.Context(), m.Client(t), session.WithWitness(path), session.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		l, err := lock.New(s, etcdtest.Name(t)).Acquire(t.Context())
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		etcdtest.Eventually(t, 20*time.Second, "a warning", func() bool { return strings.Contains(log.String(), "the witness is not told") })
		if err := l.Release(t.Context()); err != nil {
			t.Error(err)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// safeBuffer may be read while it is written.
type safeBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func TestLeaseOfASessionThatIsWatchedIsNotGoneOnWith(t *testing.T) {
	t.Parallel()
	m := etcdtest.Shared(t)
	socket, _, _ := agent(t, m)
	s, err := session.Open(t.Context(), m.Client(t), session.WithWitness(socket))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	if _, err := session.Open(t.Context(), m.Client(t), session.WithLease(s.Lease())); !errors.Is(err, session.ErrRevoked) || !strings.Contains(err.Error(), "witness") {
		t.Errorf("%v", err)
	}
	if err := s.Orphan(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A child of the dead one that nobody was told of, that has a session of its own and ignores SIGTERM, is waited for by the witness that inherits it.
func TestWitnessWaitsForWhatTheDeadOneHasLeft(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	// The command is a shell, which lives on: it has the leader killed when it is told to.
	l := start(t, m, name, "", "child", etcdtest.Command(t), "witness", "--endpoints", m.Endpoint(), "-v", "--", "sh", "-c", `"$0" & echo $! > `+t.TempDir()+`/pid; wait; exec sleep 60`)
	leads := next(t, m, name)
	for !l.told {
		l.told = strings.Contains(l.read(t), "the witness is told")
	}
	if err := syscall.Kill(firstChild(t, firstChild(t, l.Process.Pid)), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	within(t, leads, 10*time.Second)
	if took := time.Since(began); took < 1200*time.Millisecond { // it sleeps for two seconds, begun a moment ago
		t.Errorf("another leads %v after the death, while a child of the dead one runs", took)
	}
}

// firstChild is the process that another one runs.
func firstChild(t *testing.T, of int) int {
	t.Helper()
	all := children(of)
	if len(all) != 1 {
		t.Fatalf("%v", all)
	}
	return all[0]
}

func TestWitnessPassesOnSignalsAndTheExitCode(t *testing.T) {
	t.Parallel()
	binary, m := etcdtest.Command(t), etcdtest.Shared(t)
	run := func(script string) *exec.Cmd {
		return exec.Command(binary, "witness", "--endpoints", m.Endpoint(), "-g", "0.3", "--", "sh", "-c", script)
	}
	for script, want := range map[string]int{"exit 7": 7, "kill -9 $$": 137, "exit 0": 0,
		`(trap "" TERM; exec sleep 60) & exit 3`:                       3, // what it leaves behind is ended
		`setsid sh -c 'trap "" TERM; (sleep 60 &); sleep 60' & exit 4`: 4, // also in a session of its own, and its children
		`test -S "$FENCELINE_WITNESS"`:                                 0} {
		began := time.Now()
		err := run(script).Run()
		var exit *exec.ExitError
		code := 0
		if errors.As(err, &exit) {
			code = exit.ExitCode()
		}
		if code != want || time.Since(began) > 10*time.Second {
			t.Errorf("%s: code %d after %v, %v", script, code, time.Since(began), err)
		}
	}
	cmd := run(`trap "echo asked; exit 9" TERM; echo ready; while :; do sleep 0.1; done`)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if line, _ := lines.ReadString('\n'); line != "ready\n" {
		t.Errorf("%q", line)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(lines); string(rest) != "asked\n" {
		t.Errorf("%q", rest)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 9 {
		t.Errorf("code %d", code)
	}
	for args, want := range map[string]int{"-- /no/such/command": 127, "-- /etc/passwd": 126, "true": 64, "--": 64} {
		cmd := exec.Command(binary, append([]string{"witness", "--endpoints", m.Endpoint()}, strings.Fields(args)...)...)
		_ = cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != want {
			t.Errorf("%s: code %d, want %d", args, code, want)
		}
	}
}

// lockKilled has "fenceline lock" run a command, which has a child that ignores SIGTERM, and kills it. It returns the child, and a session to
// wait with.
func lockKilled(t *testing.T, name string, flags ...string) (child int, waiter *session.Session) {
	t.Helper()
	m, dir := etcdtest.Shared(t), t.TempDir()
	socket, s, _ := agent(t, m)
	args := append([]string{"lock", "--ttl", "60", "--endpoints", m.Endpoint()}, flags...)
	hold := exec.Command(etcdtest.Command(t), append(args, name, "--", "sh", "-c", `(trap "" TERM; exec sleep 60) & echo $! > `+dir+`/child; wait`)...)
	hold.Env = append(os.Environ(), witness.Variable+"="+socket)
	if err := hold.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hold.Process.Kill(); _ = hold.Wait() }) // it is dead by then
	etcdtest.Eventually(t, 10*time.Second, "the command runs", func() bool {
		text, err := os.ReadFile(dir + "/child")
		n, _ := fmt.Sscan(string(text), &child)
		return err == nil && n == 1
	})
	t.Cleanup(func() { _ = syscall.Kill(child, syscall.SIGKILL) }) // it may be dead
	told(t, s, 1)
	if len(flags) == 0 {
		etcdtest.Eventually(t, 10*time.Second, "the group is told", func() bool { return s.Groups() == 1 })
	}
	waiter, err := session.Open(t.Context(), m.Client(t), session.WithWitness(""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = waiter.Close(context.Background()) })
	if err := hold.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	return child, waiter
}

// runs says whether a process does.
func runs(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// The kernel kills the command, and the agent the rest of its group; then the lock is free.
func TestKilledLockCommandIsReplacedOnceItsChildrenAreGone(t *testing.T) {
	t.Parallel()
	name := etcdtest.Name(t)
	child, waiter := lockKilled(t, name)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := lock.New(waiter, name).Acquire(ctx); err != nil {
		t.Fatal(err)
	}
	if runs(child) {
		t.Error("another holds, and what the first one had started runs")
	}
}

// A command that may go on without the hold does, and then the TTL decides.
func TestCommandThatMayOutliveItsLockIsNotEnded(t *testing.T) {
	t.Parallel()
	name := etcdtest.Name(t)
	child, waiter := lockKilled(t, name, "--on-lost", "ignore")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := lock.New(waiter, name).Acquire(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("another holds: %v", err)
	}
	if !runs(child) {
		t.Error("it was ended")
	}
}

func TestSocketThatIsServedOrIsNoneIsNotTaken(t *testing.T) {
	t.Parallel()
	socket, _, stop := agent(t, etcdtest.Shared(t))
	if _, err := witness.Listen(socket); err == nil || !strings.Contains(err.Error(), "serves there already") {
		t.Errorf("%v", err)
	}
	stop()
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: socket + "2", Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close() // as a witness that was killed leaves it
	if l, err := witness.Listen(socket + "2"); err != nil {
		t.Error(err)
	} else {
		_ = l.Close()
	}
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := witness.Listen(plain); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("%v", err)
	}
	if text, err := os.ReadFile(plain); err != nil || string(text) != "x" {
		t.Error("what was there is gone")
	}
}
