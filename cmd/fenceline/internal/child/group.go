//go:build unix

package child

import (
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// group is the process group of a command; its number is that of the command's own process.
type group int

// start runs the command in a group of its own, and reports on changes each time its own process stops, and once,
// last, when it has ended. Somebody must receive until then.
func (c *Command) start(t *terminal) (group, <-chan unix.WaitStatus, error) {
	type result struct {
		pid int
		err error
	}
	started := make(chan result)
	changes := make(chan unix.WaitStatus)
	go func() {
		// Linux kills the command with the thread that started it, so that thread has to stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		pid, err := c.fork(t)
		started <- result{pid, err}
		if err == nil {
			watch(pid, changes)
		}
	}()
	r := <-started
	return group(r.pid), changes, r.err
}

func (c *Command) fork(t *terminal) (int, error) {
	attr := &syscall.SysProcAttr{Setpgid: true}
	switch {
	case c.OnLost == Kill, c.Leash:
		dieWithParent(attr, syscall.SIGKILL)
	case c.OnLost == Term:
		dieWithParent(attr, syscall.SIGTERM)
	}
	interactive := t.isOurs() && term.IsTerminal(int(c.Stdin.Fd())) && term.IsTerminal(int(c.Stdout.Fd()))
	if interactive {
		t.handOver(attr)
	}
	var files []uintptr
	for _, f := range []*os.File{c.Stdin, c.Stdout, c.Stderr} {
		files = append(files, f.Fd())
	}
	pid, err := commands.fork(func() (int, error) {
		return syscall.ForkExec(c.Path, c.Args, &syscall.ProcAttr{Env: c.Env, Files: files, Sys: attr})
	})
	if err != nil && interactive {
		t.setForeground(t.own)
	}
	return pid, err
}

// watch reports until the process has ended. Until then its number, and so the group's, belongs to nobody else.
func watch(pid int, changes chan<- unix.WaitStatus) {
	for {
		var status unix.WaitStatus
		_, err := unix.Wait4(pid, &status, unix.WUNTRACED, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			status = 255 << 8 // not to be expected, and not success
		}
		if err != nil || !status.Stopped() {
			commands.buried(pid)
			changes <- status
			return
		}
		changes <- status
	}
}

func (g group) signal(sig syscall.Signal) error { return unix.Kill(-int(g), sig) }

// empty says that nothing of the group runs any more. A signal that can be sent does not prove the contrary: there
// may be zombies that nobody has buried yet.
func (g group) empty() bool { return g.signal(0) == syscall.ESRCH || !g.runs() }
