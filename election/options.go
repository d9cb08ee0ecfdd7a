package election

import (
	"context"

	"github.com/fenceline/fenceline/internal/keyspace"
)

type options struct {
	prefix   *string
	priority int
	check    func(ctx context.Context) error
}

// Option changes an Election from its defaults. An invalid one is an error of the first verb, before any request.
type Option func(*options)

// WithPrefix uses the keys under prefix + "/" as they are, to share the election with etcd's
// concurrency.NewElection(s, prefix), `etcdctl elect prefix` and the election service. The name is then only shown.
// Default: keys under the Session's namespace, made from the name.
func WithPrefix(prefix string) Option { return func(o *options) { o.prefix = &prefix } }

// WithHealth has Lead stand only while check answers nil. It is asked before each campaign and then every third of
// the Session's TTL, with a ctx that bounds it to as long, one at a time. When it fails, or does not answer, fn's ctx ends with ErrUnhealthy; after fn has
// returned Lead resigns, and stands again when check answers nil. Until then the term goes on, and with it IsLeader. check
// runs in a goroutine of its own: a panic in it ends the program. Default: none.
func WithHealth(check func(ctx context.Context) error) Option {
	return func(o *options) { o.check = check }
}

// WithPriority has this candidate lead before those with a smaller number that wait with it; who leads already goes
// on. Those with a smaller number step aside, to the back of the line. Candidates of etcd's own package do not, they
// are waited for. Default 0; it may be negative.
func WithPriority(p int) Option { return func(o *options) { o.priority = p } }

// at answers the prefix of the election's entries, or why there cannot be one.
func (o *options) at(namespace, name string) (string, error) {
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
