package registry

import (
	"context"
	"fmt"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/bench"
)

// Probe measures what registrations are besides turns. Everything but the instances that are killed runs in this process,
// each watcher with a connection of its own.
type Probe struct {
	Watchers      int           // of one service, each with a connection of its own
	Times         int           // registrations and their ends that the watchers see
	Kills         int           // of processes with an instance
	TTL           time.Duration // of their leases, and of the session at rest
	Instances     int           // of the large directory
	Services      int           // among which they are
	Registrations int           // in one session, whose requests are counted
}

// Role is that of the processes: see Serve.
const Role = "instance"

// Validate says which value breaks which rule.
func (p *Probe) Validate() error {
	for name, n := range map[string]int{"watchers": p.Watchers, "times": p.Times, "instances": p.Instances, "services": p.Services, "registrations": p.Registrations} {
		if n < 1 {
			return bench.Invalid("%s is %d, want at least 1", name, n)
		}
	}
	switch {
	case p.Kills < 0:
		return bench.Invalid("kills is %d, want 0 or more", p.Kills)
	case p.Watchers > 1000:
		return bench.Invalid("watchers is %d, want at most 1000", p.Watchers)
	case p.Services > p.Instances:
		return bench.Invalid("services is %d, want at most as many as instances, %d", p.Services, p.Instances)
	case p.TTL < 2*time.Second || p.TTL > time.Hour || p.TTL%time.Second != 0:
		return bench.Invalid("kill-ttl is %v, want whole seconds from 2s to 1h", p.TTL)
	}
	return nil
}

// Estimate is what waits for leases, for two subjects, and a while for the rest.
func (p *Probe) Estimate() time.Duration {
	return 2*(time.Duration(p.Kills)*(p.TTL+time.Second)+2*p.TTL) + 10*time.Second
}

// The measures, in their order.
const (
	Seen      = "registered to seen" // by each watcher, from the call
	Gone      = "ended to unseen"    // the same for a registration that is taken back
	Resolved  = "registered to gRPC" // told by a resolver
	Killed    = "kill -9 to gone"    // from the signal until a watcher sees it
	Read      = "look up"            // a service, from etcd
	Local     = "read from memory"   // the same, from a copy
	FirstLoad = "first load"         // of the large directory
	Memory    = "memory"             // that it takes
	Change    = "change to seen"     // of one instance of it
	Garbage   = "garbage of a change"
	Renewals  = "renewals per TTL"       // of a session with all its registrations
	OtherCost = "other requests per TTL" // the same
)

// runner is a Probe at work.
type runner struct {
	*Probe
	bench.Lab
	client *clientv3.Client
	rows   []bench.Row
	places int
}

// Run takes one measure after the other, for each subject.
func (p *Probe) Run(ctx context.Context, lab bench.Lab) error {
	client, err := clientv3.New(lab.Etcd)
	if err != nil {
		return err
	}
	defer client.Close()
	r := &runner{Probe: p, Lab: lab, client: client}
	defer r.report()
	for _, measure := range []func(context.Context, string) error{r.spread, r.resolvers, r.deaths, r.reads, r.large, r.upkeep} {
		for _, subject := range lab.Subjects {
			if err := measure(ctx, subject); err != nil {
				return err
			}
		}
	}
	return nil
}

const (
	leaveTimeout = 10 * time.Second
	seenTimeout  = 30 * time.Second
)

// report puts the subjects of one measure next to each other.
func (r *runner) report() {
	order := []string{Seen, Gone, Resolved, Killed, Read, Local, FirstLoad, Memory, Change, Garbage, Renewals, OtherCost}
	slices.SortStableFunc(r.rows, func(a, b bench.Row) int { return slices.Index(order, a.Measure) - slices.Index(order, b.Measure) })
	for _, row := range r.rows {
		r.Add(row)
	}
}

func (r *runner) add(rows ...bench.Row) { r.rows = append(r.rows, rows...) }

// place is a prefix of its own for services.
func (r *runner) place() string {
	r.places++
	return fmt.Sprintf("%s%d/", r.Prefix, r.places)
}
