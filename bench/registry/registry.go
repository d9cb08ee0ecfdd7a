// Package registry measures a service registry beside etcd's own naming package: how fast a registration is seen, how
// soon a dead instance is gone, what reading costs, and what a large directory takes.
//
// Everything but the instances that are killed runs in this process, each watcher with a connection of its own. The
// rival is what go.etcd.io/etcd/client/v3/naming/endpoints gives, used as its documentation says.
package registry

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/bench"
)

// Schema names the JSON form of a Result.
const Schema = "fenceline.bench.registry/v1"

// Config says what to measure.
type Config struct {
	Etcd     clientv3.Config
	Prefix   string // all keys go below it, none stays; ends with a slash
	Subjects []string

	Watchers      int           // of one service, each with a connection of its own
	Times         int           // registrations and their ends that the watchers see
	Kills         int           // of processes with an instance
	TTL           time.Duration // of their leases
	Instances     int           // of the large directory
	Services      int           // among which they are
	Registrations int           // in one session, whose requests are counted

	Command func() *exec.Cmd // starts a process that calls Serve
	Talk    func(string)     // what it is doing, or nil
}

// Defaults is a run of about a minute, without endpoints and command.
func Defaults() Config {
	return Config{
		Prefix:   "fenceline-bench-registry/",
		Subjects: []string{"fenceline", "etcd"},
		Watchers: 100, Times: 100, Kills: 3, TTL: 5 * time.Second, Instances: 10_000, Services: 100, Registrations: 1000,
	}
}

// Validate says which value breaks which rule; its errors are bench.ErrInvalid.
func (c *Config) Validate() error {
	for name, n := range map[string]int{"watchers": c.Watchers, "times": c.Times, "instances": c.Instances, "services": c.Services, "registrations": c.Registrations} {
		if n < 1 {
			return bench.Invalid("%s is %d, want at least 1", name, n)
		}
	}
	switch {
	case len(c.Subjects) == 0:
		return bench.Invalid("no subject, want at least one")
	case c.Kills < 0:
		return bench.Invalid("kills is %d, want 0 or more", c.Kills)
	case c.Watchers > 1000:
		return bench.Invalid("watchers is %d, want at most 1000", c.Watchers)
	case c.Services > c.Instances:
		return bench.Invalid("services is %d, want at most as many as instances, %d", c.Services, c.Instances)
	case c.TTL < 2*time.Second || c.TTL > time.Hour || c.TTL%time.Second != 0:
		return bench.Invalid("ttl is %v, want whole seconds from 2s to 1h", c.TTL)
	}
	for i, name := range c.Subjects {
		if subjects[name] == nil {
			return bench.Invalid("subject is %q, want fenceline or etcd", name)
		}
		if slices.Contains(c.Subjects[:i], name) {
			return bench.Invalid("subject %q is there twice", name)
		}
	}
	return nil
}

// Result is a row for each measure and subject.
type Result struct {
	Schema string `json:"schema"`
	Rows   []Row  `json:"rows"`
}

// The measures, in their order.
const (
	Seen      = "registered to seen" // by each watcher, from the call
	Gone      = "ended to unseen"    // the same for a registration that is taken back
	Resolved  = "registered to gRPC" // told by a resolver
	Killed    = "kill -9 to gone"    // from the signal until a watcher sees it
	Read      = "look up"            // a service, from etcd
	Local     = "read from memory"   // the same, from a copy
	Load      = "first load"         // of the large directory
	Memory    = "memory"             // that it takes
	Change    = "change to seen"     // of one instance of it
	Garbage   = "garbage of a change"
	Renewals  = "renewals per TTL"       // of a session with all its registrations
	OtherCost = "other requests per TTL" // the same
)

// Row is one measure of one subject: times, or a value.
type Row struct {
	Measure string        `json:"measure"`
	Subject string        `json:"subject"`
	Count   int           `json:"count"`
	Median  time.Duration `json:"median_ns,omitempty"`
	P99     time.Duration `json:"p99_ns,omitempty"`
	Max     time.Duration `json:"max_ns,omitempty"`
	Value   float64       `json:"value,omitempty"`
	Unit    string        `json:"unit,omitempty"` // of Value
}

func timesRow(measure, subject string, times []time.Duration) Row {
	slices.Sort(times)
	n := len(times)
	if n == 0 {
		return Row{Measure: measure, Subject: subject}
	}
	return Row{Measure: measure, Subject: subject, Count: n, Median: times[n/2], P99: times[min(n*99/100, n-1)], Max: times[n-1]}
}

func valueRow(measure, subject string, count int, value float64, unit string) Row {
	return Row{Measure: measure, Subject: subject, Count: count, Value: value, Unit: unit}
}

// runner is a Config on its way to a Result.
type runner struct {
	Config
	client *clientv3.Client
	result *Result
	places int
}

// Run takes one measure after the other, for each subject. When ctx ends, or something fails, it returns the rows it
// has, with the reason.
func Run(ctx context.Context, cfg Config) (result *Result, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Talk == nil {
		cfg.Talk = func(string) {}
	}
	client, err := clientv3.New(cfg.Etcd)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	bounded, cancel := context.WithTimeout(ctx, reachTimeout)
	_, err = client.Get(bounded, cfg.Prefix, clientv3.WithCountOnly())
	cancel()
	if err != nil {
		return nil, fmt.Errorf("%w at %s: %w", bench.ErrUnreachable, strings.Join(cfg.Etcd.Endpoints, ", "), err)
	}
	r := &runner{Config: cfg, client: client, result: &Result{Schema: Schema}}
	defer func() { err = errors.Join(err, r.clean(ctx)) }()
	for _, measure := range []func(context.Context, string) error{r.spread, r.resolvers, r.deaths, r.reads, r.large, r.upkeep} {
		for _, subject := range cfg.Subjects {
			if err := measure(ctx, subject); err != nil {
				if ctx.Err() != nil {
					err = context.Cause(ctx)
				}
				return r.result, err
			}
		}
	}
	r.sort()
	return r.result, nil
}

const (
	reachTimeout = 5 * time.Second
	leaveTimeout = 10 * time.Second
	seenTimeout  = 30 * time.Second
)

// sort puts the subjects of one measure next to each other.
func (r *runner) sort() {
	order := []string{Seen, Gone, Resolved, Killed, Read, Local, Load, Memory, Change, Garbage, Renewals, OtherCost}
	slices.SortStableFunc(r.result.Rows, func(a, b Row) int { return slices.Index(order, a.Measure) - slices.Index(order, b.Measure) })
}

func (r *runner) add(rows ...Row) { r.result.Rows = append(r.result.Rows, rows...) }

// place is a prefix of its own for services.
func (r *runner) place() string {
	r.places++
	return fmt.Sprintf("%s%d/", r.Prefix, r.places)
}

func (r *runner) clean(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	if _, err := r.client.Delete(ctx, r.Prefix, clientv3.WithPrefix()); err != nil {
		return fmt.Errorf("bench: delete %s*: %w", r.Prefix, err)
	}
	return nil
}
