package lock

import (
	"fmt"
	"time"

	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/internal/line"
)

// Errors of Acquire and TryAcquire, beside those of ctx and of package session.
var (
	// ErrHeld: somebody else is ahead (TryAcquire). errors.As gives *HeldError.
	ErrHeld = line.ErrHeld
	// ErrQueueFull: as many are waiting as WithMaxWaiters allows. errors.As gives *HeldError.
	ErrQueueFull = line.ErrQueueFull
)

// DefaultHandoffs is the number of local grants in a row while other processes wait. docs/design.md has the
// measurement behind it.
const DefaultHandoffs = 32

type options struct {
	line.Options
	prefix  *string
	invalid error // the first option that cannot be
}

// Option changes a Mutex from its defaults. An invalid one is an error of the first verb, before any request.
type Option interface{ mutex(o *options) }

// RWOption is an option of New and NewRW alike: one value serves both.
type RWOption interface {
	Option
	rw(o *options)
}

type (
	option   func(*options)
	rwOption func(*options)
)

func (f option) mutex(o *options)   { f(o) }
func (f rwOption) mutex(o *options) { f(o) }
func (f rwOption) rw(o *options)    { f(o) }

// WithPrefix uses the keys under prefix + "/" as they are, to share the lock with etcd's concurrency.NewMutex(s, prefix)
// and `etcdctl lock prefix`: ours and theirs then stand in one line. The name is then only shown. Default: keys under
// the Session's namespace, made from the name.
func WithPrefix(prefix string) RWOption { return rwOption(func(o *options) { o.prefix = &prefix }) }

// WithHandoffs sets how many local grants in a row follow the first while other processes wait. 0: strict turns.
// Default DefaultHandoffs. Other processes wait for at most n+1 holds of this one at a time.
func WithHandoffs(n int) RWOption {
	return rwOption(func(o *options) {
		o.Handoffs = n
		o.reject(n < 0, "WithHandoffs(%d): it must not be negative", n)
	})
}

// WithLinger keeps the entry in etcd for d after the last release, unless someone else queues: then it is given up
// at once. The next Acquire in this process costs no request meanwhile. Default 0: it is deleted at the release.
func WithLinger(d time.Duration) Option {
	return option(func(o *options) {
		o.Linger = d
		o.reject(d < 0, "WithLinger(%v): it must not be negative", d)
	})
}

// WithMaxWaiters makes Acquire fail with ErrQueueFull when n are waiting before it, in this process and in etcd's line
// together; the holder is not counted. n is at least 1. Default: any number.
func WithMaxWaiters(n int) RWOption {
	return rwOption(func(o *options) {
		o.MaxWaiters = n
		o.reject(n < 1, "WithMaxWaiters(%d): it must be at least 1", n)
	})
}

func defaults() options { return options{Options: line.Options{Handoffs: DefaultHandoffs}} }

func (o *options) reject(bad bool, format string, args ...any) {
	if bad && o.invalid == nil {
		o.invalid = fmt.Errorf("lock: "+format, args...)
	}
}

// resolve returns the prefix of the line, or why there cannot be one.
func (o *options) resolve(namespace, kind, name string) (string, error) {
	if o.invalid != nil {
		return "", o.invalid
	}
	if err := keyspace.CheckName("lock", name); err != nil {
		return "", err
	}
	if o.prefix == nil {
		return keyspace.Line(namespace, kind, name), nil
	}
	if err := keyspace.CheckPrefix(namespace, *o.prefix); err != nil {
		return "", err
	}
	return *o.prefix + "/", nil
}

// WithMinHold keeps the lock unavailable to everyone else, including other goroutines of this process, until d after the
// grant, even if it is released earlier. It is for jobs that start by the clock on several machines, where the job may be
// done on the one before the clock of the other says that it is time. Release returns at once; the entry stays in etcd,
// under a lease of its own, for the rest of d, and up to 2 s longer if this process does not live to delete it. A holder
// that dies while it holds is not covered: then the Session's lease decides. Default 0.
func WithMinHold(d time.Duration) RWOption {
	return rwOption(func(o *options) {
		o.MinHold = d
		o.reject(d < 0, "WithMinHold(%v): it must not be negative", d)
	})
}

// WithTakeoverDelay makes Acquire wait for d, its entry first in line, after the holder before it lost its lease instead of
// releasing: that holder's last steps may still be on their way somewhere. The option is the waiter's. A holder who was
// gone before the waiter came is not known any more, and an entry that somebody deletes by hand counts as released.
// Default 0.
func WithTakeoverDelay(d time.Duration) RWOption {
	return rwOption(func(o *options) {
		o.TakeoverDelay = d
		o.reject(d < 0, "WithTakeoverDelay(%v): it must not be negative", d)
	})
}
