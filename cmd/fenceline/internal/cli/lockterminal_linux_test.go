package cli

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

// terminal is a shell on a terminal of its own, and somebody at the keyboard.
type terminal struct {
	t        *testing.T
	name     string // of the lock
	dir      string
	keyboard *os.File
	shell    *exec.Cmd
	done     chan struct{}

	mu     sync.Mutex
	screen strings.Builder
}

// onTerminal runs a shell script on a new terminal, as its controlling process. $LOCK begins a fenceline lock, $F is
// fenceline, $N the name, $D a directory.
func onTerminal(t *testing.T, script string) *terminal {
	t.Helper()
	name := etcdtest.Name(t)
	keyboard, tty := openTerminal(t)
	defer tty.Close()
	x := &terminal{t: t, name: name, dir: t.TempDir(), keyboard: keyboard, done: make(chan struct{}), shell: exec.Command("/bin/sh", "-c", script)}
	x.shell.Stdin, x.shell.Stdout, x.shell.Stderr = tty, tty, tty
	x.shell.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	x.shell.Env = append(os.Environ(), "LOCK="+etcdtest.Command(t)+" lock "+name, "F="+etcdtest.Command(t), "N="+name,
		"FENCELINE_ENDPOINTS="+etcdtest.Shared(t).Endpoint(), "D="+x.dir)
	if err := x.shell.Start(); err != nil {
		t.Fatal(err)
	}
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		io.Copy(x, keyboard) // until everybody has left the terminal
	}()
	go func() {
		defer close(x.done)
		x.shell.Wait()
	}()
	t.Cleanup(func() {
		x.shell.Process.Kill()
		<-x.done
		keyboard.Close()
		<-reading
	})
	return x
}

func openTerminal(t *testing.T) (keyboard, tty *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), "keyboard"), tty
}

func (x *terminal) Write(b []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.screen.Write(b)
}

func (x *terminal) shows(want string) {
	x.t.Helper()
	screen := func() string {
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.screen.String()
	}
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(screen(), want); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			x.t.Fatalf("the terminal does not show %q but\n%s", want, screen())
		}
	}
}

func (x *terminal) types(text string) { x.keyboard.WriteString(text) }

// foreground has a shell say whether its process group is the terminal's foreground group: fields 5 and 8 of
// proc_pid_stat(5).
const foreground = `set -- $(cut -d")" -f2 /proc/$$/stat); if [ $3 = $6 ]; then echo foreground; else echo background; fi`

func TestCommandIsInTheForegroundOfTheTerminalAndTheShellAfterIt(t *testing.T) {
	x := onTerminal(t, `
		$LOCK sh -c '`+foreground+` | sed s/^/command:/'
		`+foreground+` | sed s/^/shell:/`)
	x.shows("command:foreground")
	x.shows("shell:foreground")
}

func TestCommandMayReadTheTerminal(t *testing.T) {
	x := onTerminal(t, `$LOCK sh -c 'echo ready; read line; echo got:$line'`)
	x.shows("ready")
	x.types("hello\n")
	x.shows("got:hello")
}

// Its standard output is not the terminal: that stays with the pipeline until the command asks.
func TestCommandInAPipelineGetsTheTerminalWhenItAsks(t *testing.T) {
	x := onTerminal(t, `$LOCK sh -c 'echo ready; read line; echo got:$line' | cat; echo end`)
	x.shows("ready")
	x.types("hello\n")
	x.shows("got:hello")
	x.shows("end")
}

func TestCtrlCIsForTheCommand(t *testing.T) {
	x := onTerminal(t, `trap : INT
		$LOCK sh -c 'trap "exit 9" INT; echo one; while :; do sleep 0.01; done'; echo code:$?
		$LOCK sh -c 'echo two; exec sleep 60'; echo code:$?`)
	x.shows("one")
	x.types("\x03")
	x.shows("code:9")
	x.shows("two")
	x.types("\x03")
	x.shows("code:130")
}

func TestCtrlZStopsTheJobAndFgContinuesIt(t *testing.T) {
	x := onTerminal(t, `set -m
		$LOCK sh -c 'echo ready; read line; echo got:$line; exit 5'
		echo shell:$?
		fg
		echo code:$?`)
	x.shows("ready")
	x.types("\x1a")
	x.shows("it will be lost")
	x.shows("shell:")
	x.types("hello\n")
	x.shows("got:hello")
	x.shows("code:5")
}

// The wrapper alone would leave the command running without anybody to renew its lock. The command forks nothing: a
// shell whose vforked child is stopped before it has become a command cannot stop itself.
func TestCtrlZInAPipelineStopsTheCommandToo(t *testing.T) {
	x := onTerminal(t, `set -m
		$LOCK sh -c 'echo $$ > $D/pid; echo ready; exec sleep 60' | cat
		set -- $(cut -d")" -f2 /proc/$(cat $D/pid)/stat); echo state:$1
		kill -TERM $(cat $D/pid); fg; echo end`)
	x.shows("ready")
	x.types("\x1a")
	x.shows("state:T")
	x.shows("end")
}

// Nobody could continue it: the terminal's only process group has no parent that waits for stopped children.
func TestCtrlZWithoutJobControlChangesNothing(t *testing.T) {
	x := onTerminal(t, `exec $LOCK sh -c 'echo ready; read line; echo got:$line'`)
	x.shows("ready")
	x.types("\x1a")
	x.types("hello\n")
	x.shows("got:hello")
}

func TestCtrlZWhileWaitingStopsTheWait(t *testing.T) {
	x := onTerminal(t, `set -m
		$LOCK sh -c '> $D/held; while [ ! -e $D/go ]; do sleep 0.01; done' &
		until [ -e $D/held ]; do sleep 0.01; done
		$LOCK echo second ran
		echo shell:$?; > $D/go; fg; echo code:$?`)
	entries(t, etcdtest.Shared(t).Client(t), x.name, 2)
	x.types("\x1a")
	x.shows("shell:")
	x.shows("second ran")
	x.shows("code:0")
}
