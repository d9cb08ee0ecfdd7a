//go:build unix

package child

import (
	"context"
	"errors"
	"syscall"
	"time"
)

const (
	leftoverPoll = 10 * time.Millisecond // the kernel does not tell when a group is empty
	buryWithin   = 5 * time.Second       // what SIGKILL has not ended by then is stuck, or a zombie that nobody buries
)

var errLeftover = errors.New("the command has ended and left processes behind")

// enforce does what is demanded now, and returns when to ask again.
func (r *run) enforce() time.Duration {
	now, deadline := time.Now(), r.hold.Deadline()
	cause := r.cause(now) // asked after the deadline, which a hold that has ended does not have
	if cause == nil && r.OnLost == Ignore {
		return lookAgain
	}
	want, wait := r.countdown.at(now, deadline, cause)
	if want != nothing {
		if cause == nil {
			cause = ErrUnrenewed
		}
		if cause != errLeftover && r.lost == nil {
			r.lost = cause
		}
		r.carryOut(want, cause)
	}
	if !r.exited.IsZero() {
		wait = min(wait, leftoverPoll)
	}
	return wait
}

// cause is why the group must go whatever the deadline, or nil.
func (r *run) cause(now time.Time) error {
	if ctx := r.hold.Context(); ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !r.exited.IsZero() && now.Sub(r.exited) >= r.Grace {
		return errLeftover
	}
	return nil
}

// carryOut signals first and talks second. SIGKILL is repeated: a process may have joined the group meanwhile.
func (r *run) carryOut(want demand, cause error) {
	text, err := "", error(nil)
	switch {
	case r.OnLost == Ignore:
		if r.done == nothing {
			text = "the command goes on without it"
		}
	case r.OnLost == Kill && want == kill:
		text = "sending SIGKILL"
		err = r.group.signal(syscall.SIGKILL)
		if r.killed.IsZero() {
			r.killed = time.Now()
		}
	case r.done == nothing:
		text = "sending SIGTERM"
		err = r.group.signal(syscall.SIGTERM)
		r.group.signal(syscall.SIGCONT) // a stopped process cannot heed it
	}
	if want > r.done && text != "" {
		r.say(text, cause)
		if err != nil && err != syscall.ESRCH {
			r.Say("cannot signal the command: %v", err)
		}
	}
	r.done = max(r.done, want)
}

func (r *run) say(text string, cause error) {
	switch {
	case r.done != nothing:
		r.Say("still running: %s", text)
	case cause == errLeftover:
		r.Say("%v: %s", cause, text)
	default:
		r.Say("lost: %v: %s", cause, text)
	}
}
