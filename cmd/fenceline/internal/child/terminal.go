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

// give makes g the foreground group if that is ours to give. It answers whether g is the foreground group.
func (t *terminal) give(g group) bool {
	if t == nil {
		return false
	}
	return t.foreground() == g || t.foreground() == t.own && t.setForeground(g)
}

// take takes back what give gave. The modes are put back if the command had no chance to do so itself.
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
	// From the background this would stop us otherwise. It is not ignored from the start: the command would inherit that.
	signal.Ignore(syscall.SIGTTOU)
	return unix.IoctlSetPointerInt(int(t.file.Fd()), unix.TIOCSPGRP, int(g)) == nil
}
