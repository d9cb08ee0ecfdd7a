package election

import (
	"context"
	"fmt"

	"github.com/fenceline/fenceline/internal/keyspace"
)

type options struct {
	prefix   *string
	priority int
	check    func(ctx context.Context) error

	threshold int   // of failed checks in a row
	invalid   error // the first option that cannot be
}

// Option changes an Election from its defaults. An invalid one is an error of the first verb, before any request.
type Option func(*options)

// WithPrefix uses the keys under prefix + "/" as they are, to share the election with etcd's
// concurrency.NewElection(s, prefix), `etcdctl elect prefix` and the election service. The name is then only shown.
// Default: keys under the Session's namespace, made from the name.
func WithPrefix(prefix string) Option { return func(o *options) { o.prefix = &prefix } }

// WithHealth has Lead stand only while check answers nil. It is asked before each campaign and then every third of
// the Session's TTL, with a ctx that bounds it to as long, one at a time. When it fails, or does not answer, fn's ctx ends
// with ErrUnhealthy, and the Session's logger says so; after fn has returned Lead resigns, and stands again when check
// answers nil. Until then the term goes on, and with it IsLeader: an fn that ignores its ctx for a third of the TTL is told
// of by the logger and Trace.Overrun, counted from the end of its ctx. check runs in a goroutine of its own: a panic in it
// ends the program. Default: none.
func WithHealth(check func(ctx context.Context) error) Option {
	return func(o *options) { o.check = check }
}

// WithHealthThreshold has a leader step down only after n checks have failed in a row, so that one hiccup is not enough. It
// stands only after a check that passed, whatever n is. n is at least 1. Default 1.
func WithHealthThreshold(n int) Option {
	return func(o *options) {
		o.threshold = n
		if n < 1 && o.invalid == nil {
			o.invalid = fmt.Errorf("election: WithHealthThreshold(%d): it must be at least 1", n)
		}
	}
}

// WithPriority ranks this candidate among those waiting: higher numbers lead first. A leader in office is not displaced. Those with a smaller
// number step aside, to the back of the line: whoever would lead next at once, the others one after the other, about a second after they were
// outranked. Candidates of etcd's own package do not step aside; they are waited for. Default 0; it may be negative.
func WithPriority(p int) Option { return func(o *options) { o.priority = p } }

// at answers the prefix of the election's entries, or why there cannot be one.
func (o *options) at(namespace, name string) (string, error) {
	if o.invalid != nil {
		return "", o.invalid
	}
	if err := keyspace.CheckName("election", name); err != nil {
		return "", err
	}
	if o.prefix == nil {
		return keyspace.Line(namespace, "election", name), nil
	}
	if err := keyspace.CheckPrefix(namespace, *o.prefix); err != nil {
		return "", err
	}
	return *o.prefix + "/", nil
}
