package election

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/fenceline/fenceline/internal/keyspace"
)

// Option changes an Election from its defaults. An invalid one is an error of the first verb, before any request.
type Option interface{ election(o *options) }

// WatchOption tells Current, Candidates and Observe, which need no Session, where an election is.
type WatchOption interface{ watch(p *place) }

// PlaceOption is an option of New and of those who read alike: one value serves both.
type PlaceOption interface {
	Option
	WatchOption
}

// place is where the entries of an election stand.
type place struct {
	namespace string
	prefix    *string // instead of the namespace, the kind and the name
}

type options struct {
	place
	priority int
	check    func(ctx context.Context) error

	threshold int   // of failed checks in a row
	invalid   error // the first option that cannot be
}

type (
	option      func(*options)
	watchOption func(*place)
	placeOption func(*place)
)

func (f option) election(o *options)      { f(o) }
func (f watchOption) watch(p *place)      { f(p) }
func (f placeOption) election(o *options) { f(&o.place) }
func (f placeOption) watch(p *place)      { f(p) }

// WithPrefix uses the keys under prefix + "/" as they are, to share the election with etcd's concurrency.NewElection(s, prefix),
// "etcdctl elect prefix" and the election service. The name is then only shown. The default is keys under the namespace, made from
// the name.
func WithPrefix(prefix string) PlaceOption {
	return placeOption(func(p *place) { p.prefix = &prefix })
}

// WithNamespace reads the election of Sessions that were opened with this namespace, as session.WithNamespace sets it. The default is
// "fenceline/".
func WithNamespace(prefix string) WatchOption {
	return watchOption(func(p *place) { p.namespace = prefix })
}

// WithHealth makes Lead stand only while check returns nil. Lead calls check before each campaign and then every third of the
// Session's TTL, one call at a time, with a ctx that ends after as long. When check fails or does not return in time, fn's ctx ends with
// ErrUnhealthy, and the Session's logger says so. After fn has returned Lead resigns, and stands again once check returns nil. Until
// then the term goes on, and with it IsLeader: the logger and Trace.Overrun report an fn that still runs a third of the TTL after
// the end of its ctx. check runs in a goroutine of its own: a panic in it ends the program. The default is no check.
func WithHealth(check func(ctx context.Context) error) Option {
	return option(func(o *options) { o.check = check })
}

// WithHealthThreshold sets how many checks in a row must fail before a leader steps down, so that one hiccup is not enough. A
// candidate stands only after a check that passed, whatever n is. n is at least 1, which is the default.
func WithHealthThreshold(n int) Option {
	return option(func(o *options) {
		o.threshold = n
		if n < 1 && o.invalid == nil {
			o.invalid = fmt.Errorf("election: WithHealthThreshold(%d): it must be at least 1", n)
		}
	})
}

// WithPriority ranks this candidate among those waiting: higher numbers lead first. A leader in office is not displaced. Candidates
// with a smaller number step aside, to the back of the line: whoever would lead next does so at once, the others one after the other,
// about a second after they were outranked. Candidates of etcd's own package do not step aside; fenceline's wait for them. The
// default is 0; a priority may be negative.
func WithPriority(p int) Option { return option(func(o *options) { o.priority = p }) }

// at returns the prefix of the election's entries, or why there cannot be one.
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

// resolve returns the prefix of the election's entries for those who read, or why there cannot be one.
func resolve(name string, opts []WatchOption) (string, error) {
	p := place{namespace: "fenceline/"}
	for _, opt := range opts {
		opt.watch(&p)
	}
	if err := keyspace.CheckName("election", name); err != nil {
		return "", err
	}
	if p.prefix != nil {
		return *p.prefix + "/", keyspace.CheckName("prefix", *p.prefix)
	}
	if p.namespace == "" || len(p.namespace) > keyspace.MaxName || !utf8.ValidString(p.namespace) {
		return "", fmt.Errorf("namespace %q: want 1 to %d bytes of UTF-8", p.namespace, keyspace.MaxName)
	}
	return keyspace.Line(p.namespace, "election", name), nil
}

// InNamespace is WithNamespace.
//
// Deprecated: use WithNamespace.
func InNamespace(prefix string) WatchOption { return WithNamespace(prefix) }

// AtPrefix is WithPrefix.
//
// Deprecated: use WithPrefix.
func AtPrefix(prefix string) WatchOption { return WithPrefix(prefix) }
