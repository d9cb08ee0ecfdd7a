//go:build unix

package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeHold ends when the test says so.
type fakeHold struct {
	ctx      context.Context
	lose     context.CancelCauseFunc
	mu       sync.Mutex
	deadline time.Time
}

func newHold(t *testing.T, left time.Duration) *fakeHold {
	h := &fakeHold{deadline: time.Now().Add(left)}
	h.ctx, h.lose = context.WithCancelCause(t.Context())
	return h
}

func (h *fakeHold) Context() context.Context { return h.ctx }

func (h *fakeHold) Deadline() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.deadline
}

func (h *fakeHold) renew(left time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deadline = time.Now().Add(left)
}

// running is a shell script under a hold.
type running struct {
	t       *testing.T
	dir     string // the script's working directory, in $D
	signals chan os.Signal
	said    strings.Builder
	result  Result
	done    chan struct{}
}

func start(t *testing.T, hold Hold, script string, change ...func(*Command)) *running {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, dir: t.TempDir(), signals: make(chan os.Signal, 8), done: make(chan struct{})}
	c := &Command{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: append(os.Environ(), "D="+r.dir),
		Stdin: null, Stdout: null, Stderr: null, OnLost: Kill, Grace: 300 * time.Millisecond,
		Say: func(format string, args ...any) { fmt.Fprintf(&r.said, format+"\n", args...) }}
	for _, f := range change {
		f(c)
	}
	go func() {
		defer close(r.done)
		defer null.Close()
		if r.result, err = c.Run(hold, r.signals); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { <-r.done })
	return r
}

func (r *running) wait() Result {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(20 * time.Second):
		r.t.Fatal("the command does not end")
	}
	return r.result
}

// until waits for the script to create a file, and returns what is in it: the script moves it into place.
func (r *running) until(file string) string {
	r.t.Helper()
	path, text := filepath.Join(r.dir, file), []byte(nil)
	etcdtest.Eventually(r.t, 10*time.Second, "the script writes "+file, func() bool {
		var err error
		text, err = os.ReadFile(path)
		return err == nil
	})
	return strings.TrimSpace(string(text))
}

func (r *running) pid(file string) int {
	pid, err := strconv.Atoi(r.until(file))
	if err != nil {
		r.t.Fatal(err)
	}
	return pid
}

// gone says that pid runs no more, buried or not.
func gone(pid int) bool {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return unix.Kill(pid, 0) == unix.ESRCH || strings.Contains(string(stat), ") Z ")
}

func TestExitCodeIsTheCommands(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 3": 3, "kill -TERM $$": 143, "kill -KILL $$": 137} {
		r := start(t, newHold(t, time.Hour), script)
		if got := r.wait(); got.Code != want || got.Lost != nil {
			t.Errorf("%s: %+v, want code %d", script, got, want)
		}
		if r.said.Len() > 0 {
			t.Errorf("%s: said %q", script, r.said.String())
		}
	}
}

func TestStartErrorsHaveTheShellsCodes(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	noInterpreter := filepath.Join(dir, "script")
	os.WriteFile(plain, []byte("x"), 0o644)
	os.WriteFile(noInterpreter, []byte("#!/does/not/exist\n"), 0o755)
	for name, want := range map[string]int{"no-such-command": 127, dir + "/nothing": 127, plain: 126, dir: 126, noInterpreter: 127} {
		path, err := Find(name)
		if err == nil {
			_, err = (&Command{Path: path, Args: []string{name}, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}).Run(newHold(t, time.Hour), nil)
		}
		var start *StartError
		if !errors.As(err, &start) || start.Code != want || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, want code %d", name, err, want)
		}
	}
}

func TestSignalsReachTheWholeGroup(t *testing.T) {
	const script = `
		trap 'wait; exit 7' USR1
		sh -c 'trap "echo > $D/inner; exit" USR1; echo > $D/ready; while :; do sleep 0.01; done' &
		wait`
	r := start(t, newHold(t, time.Hour), script)
	r.until("ready")
	r.signals <- syscall.SIGUSR1
	if got := r.wait(); got.Code != 7 {
		t.Errorf("%+v, want code 7", got)
	}
	r.until("inner")
}

func TestRenewedHoldLeavesTheCommandAlone(t *testing.T) {
	hold := newHold(t, 700*time.Millisecond)
	r := start(t, hold, "while [ ! -e $D/end ]; do sleep 0.01; done; exit 5")
	for began := time.Now(); time.Since(began) < 1200*time.Millisecond; time.Sleep(50 * time.Millisecond) {
		hold.renew(700 * time.Millisecond)
	}
	os.WriteFile(filepath.Join(r.dir, "end"), nil, 0o600)
	if got := r.wait(); got.Code != 5 || got.Lost != nil {
		t.Errorf("%+v, want code 5", got)
	}
}

// ignoresTerm is a command with a grandchild, both deaf to SIGTERM.
const ignoresTerm = `trap '' TERM
	sh -c 'echo $$ > $D/t; mv $D/t $D/grandchild; while :; do sleep 1; done' &
	echo $$ > $D/u; mv $D/u $D/child
	while :; do sleep 1; done`

func TestDeadBeforeTheDeadline(t *testing.T) {
	hold := newHold(t, 900*time.Millisecond)
	r := start(t, hold, ignoresTerm)
	child, grandchild := r.pid("child"), r.pid("grandchild")
	got := r.wait()
	if late := time.Since(hold.Deadline()); late > 0 {
		t.Errorf("ended %v after the deadline", late)
	}
	if !errors.Is(got.Lost, ErrUnrenewed) || got.Code != 137 {
		t.Errorf("%+v, want ErrUnrenewed and SIGKILL", got)
	}
	if !gone(child) || !gone(grandchild) {
		t.Error("the command or its child is alive")
	}
	for _, want := range []string{"lost: no renewal", "SIGTERM", "SIGKILL"} {
		if !strings.Contains(r.said.String(), want) {
			t.Errorf("said %q, want %q", r.said.String(), want)
		}
	}
}

func TestTermComesAGraceBeforeTheDeadline(t *testing.T) {
	hold := newHold(t, 900*time.Millisecond)
	r := start(t, hold, `trap 'exit 9' TERM; while :; do sleep 0.01; done`)
	got := r.wait()
	if left := time.Until(hold.Deadline()); left < 100*time.Millisecond || left > 300*time.Millisecond {
		t.Errorf("SIGTERM came %v before the deadline, want 300 ms and the time to end", left)
	}
	if got.Code != 9 || got.Lost == nil {
		t.Errorf("%+v, want code 9 and a loss", got)
	}
}

func TestRevokedHoldEndsTheCommandAtOnce(t *testing.T) {
	hold := newHold(t, time.Hour)
	r := start(t, hold, ignoresTerm)
	grandchild := r.pid("grandchild")
	hold.lose(session.ErrRevoked)
	began := time.Now()
	got := r.wait()
	if !errors.Is(got.Lost, session.ErrRevoked) || got.Code != 137 || !gone(grandchild) {
		t.Errorf("%+v, grandchild gone: %v", got, gone(grandchild))
	}
	if took := time.Since(began); took < 290*time.Millisecond || took > 3*time.Second {
		t.Errorf("took %v, want the grace period", took)
	}
}

func TestExpiredHoldKillsAtOnce(t *testing.T) {
	hold := newHold(t, time.Hour)
	r := start(t, hold, `trap 'echo > $D/term' TERM; echo > $D/ready; while :; do sleep 0.01; done`)
	r.until("ready")
	hold.lose(session.ErrExpired)
	if got := r.wait(); !errors.Is(got.Lost, session.ErrExpired) || got.Code != 137 {
		t.Errorf("%+v, want SIGKILL", got)
	}
	if _, err := os.Stat(filepath.Join(r.dir, "term")); err == nil {
		t.Error("the command was given time after the end of its hold")
	}
}

func TestStoppedCommandIsEnded(t *testing.T) {
	hold := newHold(t, time.Hour)
	r := start(t, hold, `trap 'exit 9' TERM; echo $$ > $D/t; mv $D/t $D/child; while :; do sleep 0.01; done`)
	unix.Kill(-r.pid("child"), unix.SIGSTOP)
	hold.lose(session.ErrRevoked)
	if got := r.wait(); got.Code != 9 {
		t.Errorf("%+v, want code 9 from its own handler", got)
	}
}

func TestOnLostTermLeavesTheEndToTheCommand(t *testing.T) {
	hold := newHold(t, time.Hour)
	r := start(t, hold, `trap 'sleep 0.5; exit 9' TERM; echo > $D/ready; while :; do sleep 0.01; done`,
		func(c *Command) { c.OnLost, c.Grace = Term, 10*time.Millisecond })
	r.until("ready")
	hold.lose(session.ErrEntryGone)
	if got := r.wait(); got.Code != 9 || !errors.Is(got.Lost, session.ErrEntryGone) {
		t.Errorf("%+v, want code 9", got)
	}
}

func TestOnLostIgnoreOnlySaysSo(t *testing.T) {
	hold := newHold(t, 0)
	r := start(t, hold, `trap 'exit 9' TERM; while [ ! -e $D/end ]; do sleep 0.01; done; exit 4`,
		func(c *Command) { c.OnLost, c.Grace = Ignore, 10*time.Millisecond })
	hold.lose(session.ErrExpired)
	time.AfterFunc(300*time.Millisecond, func() { os.WriteFile(filepath.Join(r.dir, "end"), nil, 0o600) })
	if got := r.wait(); got.Code != 4 || !errors.Is(got.Lost, session.ErrExpired) {
		t.Errorf("%+v, want code 4 and the loss", got)
	}
	if n := strings.Count(r.said.String(), "goes on without it"); n != 1 {
		t.Errorf("said %q, want it once", r.said.String())
	}
}

func TestLeftoversMayEndByThemselves(t *testing.T) {
	r := start(t, newHold(t, time.Hour), `(sleep 0.1; echo > $D/tail) & exit 6`,
		func(c *Command) { c.Grace = 10 * time.Second })
	if got := r.wait(); got.Code != 6 || got.Lost != nil {
		t.Errorf("%+v, want code 6", got)
	}
	if _, err := os.Stat(filepath.Join(r.dir, "tail")); err != nil {
		t.Error("Run did not wait for what the command left behind")
	}
}

func TestLeftoversAreEnded(t *testing.T) {
	r := start(t, newHold(t, time.Hour), `trap '' TERM; sh -c 'while :; do sleep 1; done' & echo $! > $D/t; mv $D/t $D/left; exit 6`)
	pid := r.pid("left")
	if got := r.wait(); got.Code != 6 || got.Lost != nil {
		t.Errorf("%+v, want code 6", got)
	}
	if !gone(pid) {
		t.Error("what the command left behind is alive")
	}
	if !strings.Contains(r.said.String(), "left processes behind") {
		t.Errorf("said %q", r.said.String())
	}
}

func TestInputAndOutputAreTheCommands(t *testing.T) {
	in, feed, _ := os.Pipe()
	out, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	r := start(t, newHold(t, time.Hour), "cat; echo err >&2", func(c *Command) { c.Stdin, c.Stdout, c.Stderr = in, out, out })
	feed.WriteString("hello\n")
	feed.Close()
	r.wait()
	in.Close()
	if text, _ := os.ReadFile(out.Name()); string(text) != "hello\nerr\n" {
		t.Errorf("got %q", text)
	}
}
