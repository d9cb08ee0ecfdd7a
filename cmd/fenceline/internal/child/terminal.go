//go:build unix

package child

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// terminal is the controlling terminal of this process. A nil one is no terminal: nothing is given or taken.
type terminal struct {
	file  *os.File
	own   group       // of this process
	modes *term.State // as they were before the command could change them
}

func openTerminal() *terminal {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	modes, _ := term.GetState(int(f.Fd()))
	return &terminal{file: f, own: group(unix.Getpgrp()), modes: modes}
}

func (t *terminal) close() {
	if t != nil {
		t.file.Close()
	}
}

// isOurs says that this process may give the terminal away.
func (t *terminal) isOurs() bool { return t != nil && t.foreground() == t.own }

// handOver has a new process put its group into the foreground before it becomes the command.
func (t *terminal) handOver(attr *syscall.SysProcAttr) {
	ignoreTTOU()
	attr.Foreground, attr.Ctty = true, int(t.file.Fd())
}

// give makes g the foreground group if that is ours to give. It returns whether g is the foreground group.
func (t *terminal) give(g group) bool {
	return t != nil && (t.foreground() == g || t.isOurs() && t.setForeground(g))
}

// take takes back what the group has. The modes are put back if the command had no chance to do so itself.
func (t *terminal) take(g group, restore bool) {
	if t == nil || t.foreground() != g || !t.setForeground(t.own) {
		return
	}
	if restore && t.modes != nil {
		term.Restore(int(t.file.Fd()), t.modes)
	}
}

func (t *terminal) foreground() group {
	g, err := unix.IoctlGetInt(int(t.file.Fd()), unix.TIOCGPGRP)
	if err != nil {
		return 0
	}
	return group(g)
}

func (t *terminal) setForeground(g group) bool {
	ignoreTTOU()
	return unix.IoctlSetPointerInt(int(t.file.Fd()), unix.TIOCSPGRP, int(g)) == nil
}

// ignoreTTOU keeps whoever changes the foreground group from the background from being stopped. A command that is in
// the foreground from its start inherits that: between fork and exec there is no other way in Go.
func ignoreTTOU() { signal.Ignore(syscall.SIGTTOU) }
