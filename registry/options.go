package registry

import (
	"log/slog"
	"strings"
	"time"

	"github.com/fenceline/fenceline/internal/keyspace"
)

// Option says where instances stand in etcd: Register and all that read take it.
type Option interface {
	ReadOption
	register(o *options)
}

// ReadOption is an option of all that read: Lookup, LookupAll, Watch, WatchAll and OpenDirectory.
type ReadOption interface {
	WatchOption
	DirectoryOption
	read(o *options)
}

// WatchOption is an option of Watch and WatchAll.
type WatchOption interface{ watch(o *options) }

// DirectoryOption is an option of OpenDirectory.
type DirectoryOption interface{ directory(o *options) }

type (
	option          func(*options)
	readOption      func(*options)
	watchOption     func(*options)
	directoryOption func(*options)
)

func (f option) register(o *options)           { f(o) }
func (f option) read(o *options)               { f(o) }
func (f option) watch(o *options)              { f(o) }
func (f option) directory(o *options)          { f(o) }
func (f readOption) read(o *options)           { f(o) }
func (f readOption) watch(o *options)          { f(o) }
func (f readOption) directory(o *options)      { f(o) }
func (f watchOption) watch(o *options)         { f(o) }
func (f directoryOption) directory(o *options) { f(o) }

type options struct {
	prefix  string
	log     *slog.Logger
	trouble func(error)
	keeping preservation
	zone    string
	file    string
	only    *string // service; nil: all
}

// WithPrefix sets the raw prefix under which services stand in etcd. The default is "services/", whatever the Session's namespace is:
// other programs read the entries too. A final slash is added if it is missing.
func WithPrefix(prefix string) Option { return option(func(o *options) { o.prefix = prefix }) }

// WithLogger reports to l what a reader comes across: entries that do not parse, once each, and trouble with etcd. The default is
// silence. Register uses the Session's logger.
func WithLogger(l *slog.Logger) ReadOption { return readOption(func(o *options) { o.log = l }) }

// WithTroubleFunc calls f, with the reason, when what Watch yielded last may be getting old; the next set that Watch yields ends that. f
// must not block. Given twice, both functions are called. The default is none.
func WithTroubleFunc(f func(error)) WatchOption {
	return watchOption(func(o *options) {
		before := o.trouble
		o.trouble = func(err error) {
			if before != nil {
				before(err)
			}
			if f != nil {
				f(err)
			}
		}
	})
}

// WithPreservation sets when a Directory distrusts disappearances: if more than share of a service (0 to 1, default 0.2) vanishes within
// window (default 15 s, the default TTL of a session), the Directory keeps the missing instances, marked stale, for keep (default 60 s). A
// share of 1 turns it off.
func WithPreservation(share float64, window, keep time.Duration) DirectoryOption {
	return directoryOption(func(o *options) { o.keeping = preservation{share, window, keep} })
}

// WithZone makes Directory.Pick prefer instances of this zone as long as any of them are Up. By default all zones are alike.
func WithZone(zone string) DirectoryOption {
	return directoryOption(func(o *options) { o.zone = zone })
}

// WithService makes a Directory keep one service alone: its user needs no right to read the others. The default is all services under
// the prefix.
func WithService(service string) DirectoryOption {
	return directoryOption(func(o *options) { o.only = &service })
}

// WithSnapshot keeps a Directory's copy in the file at path as well, so that it can be opened while etcd is away. The default is none.
func WithSnapshot(path string) DirectoryOption {
	return directoryOption(func(o *options) { o.file = path })
}

// At is WithPrefix.
//
// Deprecated: use WithPrefix.
func At(prefix string) Option { return WithPrefix(prefix) }

// resolve takes the options of a verb, whose own kind of option apply applies.
func resolve[O any](opts []O, apply func(O, *options)) (options, error) {
	o := options{prefix: "services/", log: slog.New(slog.DiscardHandler), keeping: preservation{0.2, 15 * time.Second, time.Minute}}
	for _, opt := range opts {
		apply(opt, &o)
	}
	if o.only != nil {
		if err := checkName("service", *o.only); err != nil {
			return o, err
		}
	}
	if err := keyspace.CheckName("prefix", o.prefix); err != nil {
		return o, err
	}
	if err := o.keeping.check(); err != nil {
		return o, err
	}
	if o.log == nil {
		o.log = slog.New(slog.DiscardHandler)
	}
	if !strings.HasSuffix(o.prefix, "/") {
		o.prefix += "/"
	}
	return o, nil
}

// reads is the prefix of all that a reader of no certain service reads.
func (o options) reads() string {
	if o.only != nil {
		return o.serviceAt(*o.only)
	}
	return o.prefix
}

// serviceAt is the prefix of a service's entries.
func (o options) serviceAt(service string) string { return o.prefix + service + "/" }
