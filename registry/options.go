package registry

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/fenceline/fenceline/internal/keyspace"
)

// Option changes where and how instances are kept or read. At and WithLogger are for all; one that a function
// does not know is an error before any request.
type Option func(*options)

type options struct {
	prefix  string
	log     *slog.Logger
	trouble func(error)
	keeping preservation
	zone    string
	file    string
	only    *string   // service; nil: all
	asked   []onlyFor // which of the options were given that one verb alone knows
}

// onlyFor is an option that one verb alone knows.
type onlyFor struct{ option, verb string }

const (
	watching = "Watch"
	opening  = "OpenDirectory"
)

// At sets the prefix under which services stand in etcd. Default "services/". A final slash is added if it is missing.
func At(prefix string) Option { return func(o *options) { o.prefix = prefix } }

// WithLogger has what a reader comes across reported to l: entries that do not parse, once each, and trouble with etcd.
// Default: silent. Register uses the Session's.
func WithLogger(l *slog.Logger) Option { return func(o *options) { o.log = l } }

// OnTrouble has f called by Watch when what it yielded last may be getting old, with the reason; the next set ends that.
// f must not block. Given twice, both are called. Default: nobody is told.
func OnTrouble(f func(error)) Option {
	return func(o *options) {
		o.asked = append(o.asked, onlyFor{"OnTrouble", watching})
		before := o.trouble
		o.trouble = func(err error) {
			if before != nil {
				before(err)
			}
			if f != nil {
				f(err)
			}
		}
	}
}

// Preserve changes when a Directory keeps instances that have vanished, see there: share of a service (0 to 1, default
// 0.2) that must go within window (default 15 s, the default TTL of a session), and for how long they are kept (default
// 60 s). A share of 1 turns it off.
func Preserve(share float64, window, keep time.Duration) Option {
	return func(o *options) {
		o.asked = append(o.asked, onlyFor{"Preserve", opening})
		o.keeping = preservation{share, window, keep}
	}
}

// InZone has Directory.Pick take instances of this zone as long as any of it are Up. Default: all are alike.
func InZone(zone string) Option {
	return func(o *options) {
		o.asked = append(o.asked, onlyFor{"InZone", opening})
		o.zone = zone
	}
}

// OnlyService has a Directory keep one service alone: its user needs no right to read the others. Default: all under the prefix.
func OnlyService(service string) Option {
	return func(o *options) {
		o.asked = append(o.asked, onlyFor{"OnlyService", opening})
		o.only = &service
	}
}

// WithSnapshot has a Directory keep a copy in a file, so that it can be opened while etcd is away. Default: none.
func WithSnapshot(path string) Option {
	return func(o *options) {
		o.asked = append(o.asked, onlyFor{"WithSnapshot", opening})
		o.file = path
	}
}

// resolve takes the options of one verb. One that means nothing to the verb is a mistake: who gives InZone to Lookup expects
// what Lookup does not do.
func resolve(verb string, opts []Option) (options, error) {
	o := options{prefix: "services/", log: slog.New(slog.DiscardHandler), keeping: preservation{0.2, 15 * time.Second, time.Minute}}
	for _, opt := range opts {
		opt(&o)
	}
	for _, a := range o.asked {
		if a.verb != verb {
			return o, fmt.Errorf("option %s is for %s alone: %s does not know it", a.option, a.verb, verb)
		}
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
