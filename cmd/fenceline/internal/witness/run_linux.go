package witness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/child"
	"github.com/fenceline/fenceline/internal/witness"
)

type witnessFlags struct {
	grace   app.Seconds
	verbose bool
	command []string
}

// NewCommand is "fenceline witness".
func NewCommand(g *app.Globals) *cobra.Command {
	f := &witnessFlags{grace: app.Seconds(5 * time.Second)}
	cmd := &cobra.Command{
		Use:                   "witness [flags] -- COMMAND [ARG...]",
		DisableFlagsInUseLine: true,
		Short:                 "Run a command, and give back at once what it held if it dies",
		Long: `Run COMMAND, and give back at once what its processes held when one of them is dead: killed, out of memory, or by a panic. Else others wait
for up to the TTL of its session.

COMMAND finds the witness in FENCELINE_WITNESS, where sessions look by default. What it leaves behind is inherited: nothing is given back
while any process runs whose parent has died, since it may be one that the dead one has started. When COMMAND itself has ended, what is
left gets SIGTERM, and SIGKILL after the grace period (-g). Signals are passed on, and the exit code. It can be the first process of a
container.

Its user of etcd needs what that of "fenceline agent" needs. Without etcd, COMMAND runs all the same. When fenceline itself is killed, the TTL
decides. It wants Linux 5.3 or later.

Exit codes: those of COMMAND, or 128 plus the number of the signal that ended it; 64 wrong command line; 126 COMMAND cannot be run; 127 it
is not found; 1 the kernel has no pidfd, or there is no room for a socket.`,
		Example: `  fenceline witness -- ./report-server
  ENTRYPOINT ["fenceline", "witness", "--"]        # in a Dockerfile`,
		RunE: func(cmd *cobra.Command, args []string) error {
			at := cmd.ArgsLenAtDash()
			switch {
			case at != 0:
				return app.UsageErrorf("want -- before COMMAND")
			case len(args) == 0:
				return app.UsageErrorf("COMMAND is missing")
			case f.grace < 0:
				return app.UsageErrorf("--grace: it must not be negative")
			}
			f.command = args
			return f.run(cmd.Context(), g, app.Talk(cmd.ErrOrStderr(), "fenceline: witness: "))
		},
	}
	cmd.Flags().VarP(&f.grace, "grace", "g", "`seconds` between SIGTERM and SIGKILL for what COMMAND leaves behind")
	cmd.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "say what is given back")
	return cmd
}

func (f *witnessFlags) run(ctx context.Context, g *app.Globals, say func(string, ...any)) error {
	path, err := child.Find(f.command[0])
	if err != nil {
		return app.StartFailed(err)
	}
	client, err := g.Connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	at, remove, err := socket()
	if err != nil {
		return &app.ExitError{Code: app.ExitFailure, Err: err}
	}
	defer remove()
	l, err := witness.Listen(at)
	if err != nil {
		return &app.ExitError{Code: app.ExitFailure, Err: err}
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return &app.ExitError{Code: app.ExitFailure, Err: errors.Join(fmt.Errorf("this process cannot inherit others: %w", err), l.Close())}
	}
	signals := make(chan os.Signal, 16)
	child.Notify(signals)
	defer signal.Stop(signals)
	family := &family{}
	s := &witness.Server{Cluster: witness.Etcd(client), Log: said(say, f.verbose), Orphans: family.orphans}
	serving, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- s.Serve(serving, l) }()
	status, err := family.raise(path, f.command, append(app.Without(os.Environ(), witness.Variable), witness.Variable+"="+at), signals, time.Duration(f.grace))
	if err != nil {
		return app.StartFailed(err)
	}
	s.Settle() // all are dead
	stop()
	<-served
	switch {
	case status.Signaled():
		return &app.ExitError{Code: 128 + int(status.Signal())}
	case status.ExitStatus() != 0:
		return &app.ExitError{Code: status.ExitStatus()}
	}
	return nil
}

// family is the command and what it leaves to us.
type family struct {
	mu      sync.Mutex
	command int // its process; 0: it has ended, or has not begun
}

// raise runs the command, and returns when nothing of it is left.
func (y *family) raise(path string, args, env []string, signals <-chan os.Signal, grace time.Duration) (status unix.WaitStatus, err error) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	defer signal.Stop(ended)
	// On a terminal both stay in one group, as the shell has made it: what the terminal sends, Ctrl-C and Ctrl-Z, goes to both.
	together := term.IsTerminal(0)
	attr := &syscall.SysProcAttr{Setpgid: !together}
	y.mu.Lock()
	pid, err := syscall.ForkExec(path, args, &syscall.ProcAttr{Env: env, Files: []uintptr{0, 1, 2}, Sys: attr})
	y.command = pid
	y.mu.Unlock()
	if err != nil {
		return 0, child.NotStarted(args[0], err)
	}
	look := time.NewTicker(100 * time.Millisecond) // one SIGCHLD may stand for several
	defer look.Stop()
	var over time.Time // when the command had ended
	termed := false
	for {
		for {
			var how unix.WaitStatus
			dead, err := unix.Wait4(-1, &how, unix.WNOHANG, nil)
			if err == unix.EINTR {
				continue
			}
			if err == unix.ECHILD {
				return status, nil
			}
			if dead <= 0 {
				break
			}
			if dead == pid {
				status, over = how, time.Now()
				y.mu.Lock()
				y.command = 0
				y.mu.Unlock()
			}
		}
		if !over.IsZero() {
			sig := unix.Signal(0)
			switch {
			case time.Since(over) >= grace:
				sig = unix.SIGKILL
			case !termed:
				sig, termed = unix.SIGTERM, true
			}
			if sig != 0 {
				for _, left := range children(os.Getpid()) {
					_ = unix.Kill(left, sig) // it may have ended by itself
				}
			}
		}
		select {
		case sig := <-signals:
			switch {
			case !over.IsZero():
			case !together:
				_ = unix.Kill(-pid, sig.(syscall.Signal)) // it may have ended
			case sig != syscall.SIGINT && sig != syscall.SIGQUIT && sig != syscall.SIGWINCH:
				_ = unix.Kill(pid, sig.(syscall.Signal)) // the same
			}
		case <-ended:
		case <-look.C:
		}
	}
}

// orphans says whether any process runs here whose parent has died.
func (y *family) orphans() witness.Orphans {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, pid := range children(os.Getpid()) {
		if pid != y.command {
			return witness.Alive
		}
	}
	return witness.Gone
}

// children are those of a process that run.
func children(of int) (pids []int) {
	names, err := os.ReadDir("/proc")
	if err != nil {
		return []int{of} // who cannot be seen may be there
	}
	for _, name := range names {
		pid, err := strconv.Atoi(name.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + name.Name() + "/stat")
		if err != nil {
			continue
		}
		// "pid (name) state ppid …"
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) > 17 && fields[1] == strconv.Itoa(of) && (fields[0] != "Z" && fields[0] != "X" || fields[17] != "1") {
			pids = append(pids, pid)
		}
	}
	return pids
}
