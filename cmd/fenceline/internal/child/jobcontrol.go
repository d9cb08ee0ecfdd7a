//go:build unix

package child

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stopped is told that the command's own process has stopped.
func (r *run) stopped(sig syscall.Signal) {
	switch {
	case r.terminal == nil, sig == syscall.SIGSTOP:
		// Nobody's job, or stopped by hand: whoever did it continues it. The hold is kept.
	case sig != syscall.SIGTSTP && r.terminal.give(r.group):
		r.group.signal(syscall.SIGCONT) // it has asked for the terminal, and may have it
	default:
		r.suspend()
	}
}

// suspend stops this process with the command, and with it all that the shell takes for one job, so that the shell
// goes on. Renewals stop as well.
func (r *run) suspend() {
	r.terminal.take(r.group, false)
	if left := time.Until(r.hold.Deadline()).Truncate(time.Second); left > 0 && r.OnLost != Ignore {
		r.Say("stopped: it will be lost, and the command ended, unless continued within %v", left)
	}
	// Not SIGTSTP, which Go's runtime swallows once it has been asked for it.
	unix.Kill(0, syscall.SIGTTIN)
	// SIGCONT comes when the job is continued. Where there is no job control, nobody stops (the group is orphaned),
	// and nobody will continue the command but us.
	r.resume.Reset(200 * time.Millisecond)
}

// jobControl heeds the signals of a shell with job control.
func (r *run) jobControl(sig os.Signal) {
	if sig == syscall.SIGTSTP {
		r.group.signal(syscall.SIGTSTP) // this process follows when the command has stopped
		return
	}
	r.resumed()
}

func (r *run) resumed() {
	r.resume.Stop()
	r.enforce() // a command whose time is over is not woken
	r.terminal.give(r.group)
	r.group.signal(syscall.SIGCONT)
}
