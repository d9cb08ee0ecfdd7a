//go:build unix

package child

import (
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Notify sends to c what Run passes on: INT, TERM, HUP, QUIT, USR1, USR2 and WINCH, but none that this process was
// told to ignore, as nohup does; the command inherits that. The caller calls signal.Stop.
func Notify(c chan<- os.Signal) {
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH} {
		if !signal.Ignored(sig) {
			signal.Notify(c, sig)
		}
	}
}

// run is a command that was started.
type run struct {
	*Command
	hold     Hold
	group    group
	terminal *terminal
	job      chan os.Signal
	resume   *time.Timer // set while this process is stopped with the command

	countdown countdown
	done      demand // what has been carried out
	lost      error
	exited    time.Time // zero while the command's own process lives
	killed    time.Time
	status    unix.WaitStatus
	asked     syscall.Signal // see Result
}

// Run starts the command and returns when nothing of its group runs any more. What arrives on signals (see Notify)
// is passed on to the group. An error is a *StartError: the command never ran.
func (c *Command) Run(hold Hold, signals <-chan os.Signal) (Result, error) {
	r := &run{Command: c, hold: hold, countdown: countdown{grace: c.Grace}, terminal: openTerminal(),
		job: make(chan os.Signal, 4), resume: time.NewTimer(0)}
	defer r.terminal.close()
	r.resume.Stop()
	signal.Notify(r.job, syscall.SIGTSTP, syscall.SIGCONT) // before there is a command that could go on without us
	defer signal.Stop(r.job)

	g, changes, err := c.start(r.terminal)
	if err != nil {
		return Result{}, startError(c.Args[0], err)
	}
	r.group = g
	if c.Started != nil {
		c.Started(int(g))
	}
	r.supervise(changes, signals)
	r.terminal.take(g, r.status.Signaled())

	result := Result{Code: r.status.ExitStatus(), Lost: r.lost, Asked: r.asked}
	if r.status.Signaled() {
		result.Code = 128 + int(r.status.Signal())
	}
	return result, nil
}

// supervise asks again after every event: a timer that has not fired yet proves nothing in a process that was stopped.
func (r *run) supervise(changes <-chan unix.WaitStatus, signals <-chan os.Signal) {
	lost := r.hold.Context().Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait := r.enforce()
		if r.over() {
			return
		}
		timer.Reset(wait)
		select {
		case status := <-changes:
			r.changed(status)
		case sig := <-signals:
			r.passOn(sig.(syscall.Signal))
		case sig := <-r.job:
			r.jobControl(sig)
		case <-r.resume.C:
			r.resumed()
		case <-lost:
			lost = nil
		case <-timer.C:
		}
	}
}

func (r *run) passOn(sig syscall.Signal) {
	switch sig {
	case syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT:
		r.asked = sig
	}
	r.group.signal(sig)
}

func (r *run) changed(status unix.WaitStatus) {
	if status.Stopped() {
		r.stopped(status.StopSignal())
		return
	}
	r.status, r.exited = status, time.Now()
}

// over says that nothing is left to wait for. What is left behind is not waited for where it may live on anyway.
func (r *run) over() bool {
	switch {
	case r.exited.IsZero():
		return false
	case r.OnLost == Ignore, r.group.empty():
		return true
	case r.OnLost == Term:
		return r.done == kill
	}
	return !r.killed.IsZero() && time.Since(r.killed) > buryWithin
}
