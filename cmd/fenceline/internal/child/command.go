package child

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"
)

// Hold is what the command must not outlive: a *lock.Lock, say.
type Hold interface {
	Context() context.Context // ends with the hold; its Cause says why
	Deadline() time.Time      // until when the hold is trusted unless it is renewed; asked again and again
}

// OnLost is what happens to a command whose hold is lost, and to what it leaves behind.
type OnLost string

const (
	Kill   OnLost = "kill"   // SIGTERM, and SIGKILL after the grace period
	Term   OnLost = "term"   // SIGTERM only: it may outlive the hold
	Ignore OnLost = "ignore" // nothing: it goes on without the hold
)

// ErrUnrenewed is the loss of a hold that would end within the grace period.
var ErrUnrenewed = errors.New("no renewal has been acknowledged, and it is about to expire")

// Command is a command to be run under a hold. All fields but Env and Started are required.
type Command struct {
	Path                  string   // as Find returns it
	Args                  []string // the first is the name
	Env                   []string
	Stdin, Stdout, Stderr *os.File

	OnLost OnLost
	Leash  bool          // it ends with this process, also where the loss of the hold is nothing to it
	Grace  time.Duration // between SIGTERM and SIGKILL

	// Started is called once it runs, with the number of its process group; nil: nobody wants to know.
	Started func(group int)

	// Say tells the user what happens to the command and why. The deadline does not wait for it: it must be quick.
	Say func(format string, args ...any)
}

// Result is how a command ended.
type Result struct {
	Code int   // its exit code, or 128 plus the signal that killed it
	Lost error // why the hold was lost, if it was while something of the command's group ran

	// Asked is the last signal passed on that asks to end for good: INT, TERM or QUIT. HUP is not one, which many take
	// for "read your configuration again". 0 is none.
	Asked syscall.Signal
}
