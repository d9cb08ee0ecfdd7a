// Package takeover measures how long a lock stays with a process that was killed: from kill -9 of the one that holds it until
// the next one does.
//
// Each measurement is a pair of processes: one holds, the other waits, and the first is killed at a random moment between two
// renewals, its lease left to etcd. Pairs go side by side, for they do nothing but wait. With EtcdKills the leader of etcd's
// own cluster is killed as well, half a TTL later: the new one does not know when leases were last renewed and gives each its
// full time again; whether it did is counted. All processes are on one machine, and read one clock.
package takeover

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/subject/local"
	"github.com/fenceline/fenceline/internal/witness"
)

// The measures.
const (
	Killed         = "kill -9 to next holder"
	KilledWithEtcd = "kill -9, and etcd's leader"
)

// Role is that of the processes: see Serve.
const Role = "contender"

// Probe says what to measure.
type Probe struct {
	Workload  string
	Kills     int             // pairs for each subject and TTL
	EtcdKills int             // the same with etcd's leader killed, too; needs Cluster
	TTLs      []time.Duration // of leases
	Cluster   Cluster         // the one that is measured; nil if it is not ours to kill
}

// Cluster is an etcd of several members.
type Cluster interface {
	// KillLeader kills the member that leads.
	KillLeader(ctx context.Context) error
	// Restore starts again what was killed and returns when it serves.
	Restore(ctx context.Context) error
}

const (
	pairsAtOnce = 8
	startTime   = time.Second      // of a pair, for the estimate
	startWithin = 30 * time.Second // of a pair, at most
	lateAfter   = time.Second      // by how much a take-over may be longer than the TTL
	attempts    = 3                // of a pair whose term ends by itself
)

// Validate says which value breaks which rule.
func (p *Probe) Validate() error {
	switch {
	case p.Kills < 0:
		return bench.Invalid("kills is %d, want 0 or more", p.Kills)
	case p.EtcdKills < 0:
		return bench.Invalid("etcd-kills is %d, want 0 or more", p.EtcdKills)
	case p.EtcdKills > 0 && p.Cluster == nil:
		return bench.Invalid("etcd-kills is %d, and there is no cluster to kill members of", p.EtcdKills)
	case len(p.TTLs) == 0:
		return bench.Invalid("no ttl for kills, want at least one")
	}
	for _, ttl := range p.TTLs {
		if ttl < 2*time.Second || ttl > 24*time.Hour || ttl%time.Second != 0 {
			return bench.Invalid("ttl for kills is %v, want whole seconds from 2s to 24h", ttl)
		}
	}
	return nil
}

// Estimate is for two subjects.
func (p *Probe) Estimate() (sum time.Duration) {
	for _, ttl := range p.TTLs {
		batches := (2*p.Kills + pairsAtOnce - 1) / pairsAtOnce
		sum += time.Duration(batches)*(startTime+ttl) + time.Duration(p.EtcdKills)*(2*startTime+2*ttl)
	}
	return sum
}

// Run measures all subjects side by side.
func (p *Probe) Run(ctx context.Context, lab bench.Lab) error {
	lab.Subjects = slices.DeleteFunc(slices.Clone(lab.Subjects), func(name string) bool { return name == local.Name }) // it is for one process
	if p.Kills+p.EtcdKills == 0 || len(lab.Subjects) == 0 {
		return nil
	}
	if lab.Command == nil {
		return errors.New("bench: take-overs need processes, and nothing says how to start them")
	}
	r := &runner{Probe: p, Lab: lab}
	if slices.Contains(lab.Subjects, watched) && witness.Supported {
		stop, err := r.watch(ctx)
		if err != nil {
			return err
		}
		defer stop()
	}
	for _, ttl := range p.TTLs {
		if p.Kills > 0 {
			lab.Say(fmt.Sprintf("processes that are killed: %d of each, TTL %v", p.Kills, ttl))
			if err := r.kills(ctx, ttl); err != nil {
				return err
			}
		}
		if p.EtcdKills > 0 {
			lab.Say(fmt.Sprintf("processes that are killed: %d of each, and etcd's leader, TTL %v", p.EtcdKills, ttl))
			if err := r.etcdKills(ctx, ttl); err != nil {
				return err
			}
		}
	}
	return nil
}

// runner is a Probe at work.
type runner struct {
	*Probe
	bench.Lab
	pairs   int
	witness string // the socket of one; empty: there is none
}

// tally is what is known of one subject.
type tally struct {
	mu      sync.Mutex
	took    []time.Duration
	late    int
	unasked int
	resets  int
	etcd    int // kills of etcd's leader
}

func (t *tally) add(took, ttl time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.took = append(t.took, took)
	if took > ttl+lateAfter {
		t.late++
	}
}

// row is nothing, if nothing was measured.
func (t *tally) row(add func(bench.Row), measure, subject string, ttl time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.took) == 0 {
		return
	}
	row := bench.Times(measure, subject, t.took)
	row.Setting = fmt.Sprintf("TTL %v", ttl)
	var remarks []string
	if t.late > 0 {
		remarks = append(remarks, fmt.Sprintf("%d later than TTL + %v", t.late, lateAfter))
	}
	if t.etcd > 0 {
		remarks = append(remarks, fmt.Sprintf("the new leader gave %d of %d leases their time again", t.resets, t.etcd))
	}
	if t.unasked > 0 {
		remarks = append(remarks, fmt.Sprintf("%d ended by themselves, and were measured again", t.unasked))
	}
	row.Remark = strings.Join(remarks, "; ")
	add(row)
}

// kills measures pairs of all subjects in turn, some of them at once. Rows are added also when it fails on the way.
func (r *runner) kills(ctx context.Context, ttl time.Duration) error {
	subjects := r.Subjects
	if r.witness != "" {
		subjects = append(slices.Clone(subjects), Watched)
	}
	tallies := make([]tally, len(subjects))
	defer func() {
		for i := range tallies {
			tallies[i].row(r.Add, Killed, subjects[i], ttl)
		}
	}()
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(pairsAtOnce)
	for range r.Kills {
		for i, subject := range subjects {
			s := r.spec(subject, ttl)
			all.Go(func() error {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				return r.kill(ctx, s, &tallies[i])
			})
		}
	}
	return all.Wait()
}

// spec is of a new pair: each has a place of its own.
func (r *runner) spec(subject string, ttl time.Duration) spec {
	r.pairs++
	socket := ""
	if subject == Watched {
		subject, socket = watched, r.witness
	}
	return spec{Witness: socket, Workload: r.Workload, Subject: subject, Prefix: fmt.Sprintf("%s%d/", r.Prefix, r.pairs), TTL: ttl,
		Username: r.Etcd.Username, Password: r.Etcd.Password}
}

func (r *runner) kill(ctx context.Context, s spec, t *tally) error {
	for range attempts {
		took, err := r.killOnce(ctx, s)
		if err == nil {
			t.add(took, s.TTL)
		}
		if !errors.Is(err, errUnasked) {
			return err
		}
		t.mu.Lock()
		t.unasked++
		t.mu.Unlock()
		s.Prefix += "again/"
	}
	return fmt.Errorf("bench: %s: the lock was given on %d times before its holder was killed", s.Subject, attempts)
}

func (r *runner) killOnce(ctx context.Context, s spec) (time.Duration, error) {
	p, err := r.form(ctx, s)
	defer p.dissolve()
	if err != nil {
		return 0, err
	}
	if err := sleep(ctx, rand.N(s.TTL/3)); err != nil {
		return 0, err
	}
	return p.succeed(ctx, p.kill())
}

// etcdKills measures one pair of each subject at a time.
func (r *runner) etcdKills(ctx context.Context, ttl time.Duration) error {
	tallies := make([]tally, len(r.Subjects))
	defer func() {
		for i := range tallies {
			tallies[i].row(r.Add, KilledWithEtcd, r.Subjects[i], ttl)
		}
	}()
	client, err := clientv3.New(r.Etcd)
	if err != nil {
		return err
	}
	defer client.Close()
	for range r.EtcdKills {
		if err := r.etcdKill(ctx, client, ttl, tallies); err != nil {
			return err
		}
	}
	return nil
}

func (r *runner) etcdKill(ctx context.Context, client *clientv3.Client, ttl time.Duration, tallies []tally) error {
	type victim struct {
		*pair
		tally *tally
		at    time.Time
		left  int64 // seconds of its lease, before etcd's leader was killed
	}
	var victims []*victim
	defer func() {
		for _, v := range victims {
			v.dissolve()
		}
	}()
	for i, subject := range r.Subjects {
		p, err := r.form(ctx, r.spec(subject, ttl))
		victims = append(victims, &victim{pair: p, tally: &tallies[i]})
		if err != nil {
			return err
		}
	}
	victims = slices.DeleteFunc(victims, func(v *victim) bool { // what has no lease has nothing to do with etcd's leader
		if v.lease == 0 {
			v.dissolve()
		}
		return v.lease == 0
	})
	for _, v := range victims {
		v.at = v.kill()
	}
	if err := sleep(ctx, ttl/2); err != nil {
		return err
	}
	for _, v := range victims {
		var err error
		if v.left, err = left(ctx, client, v.lease); err != nil {
			return err
		}
	}
	if err := r.Cluster.KillLeader(ctx); err != nil {
		return err
	}
	var all errgroup.Group
	for _, v := range victims {
		all.Go(func() error {
			now, err := left(ctx, client, v.lease)
			if err != nil {
				return err
			}
			took, err := v.succeed(ctx, v.at)
			v.tally.mu.Lock()
			v.tally.etcd++
			if now > v.left {
				v.tally.resets++
			}
			if errors.Is(err, errUnasked) {
				v.tally.unasked++
				err = nil
			}
			v.tally.mu.Unlock()
			if err == nil && took > 0 {
				v.tally.add(took, ttl)
			}
			return err
		})
	}
	return errors.Join(all.Wait(), r.Cluster.Restore(ctx))
}

// left is how many seconds etcd's leader gives the lease, -1 if it has ended. It asks until there is a leader.
func left(ctx context.Context, client *clientv3.Client, lease clientv3.LeaseID) (int64, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startWithin, fmt.Errorf("bench: etcd does not say what is left of a lease within %v", startWithin))
	defer cancel()
	for {
		attempt, done := context.WithTimeout(ctx, 500*time.Millisecond)
		resp, err := client.TimeToLive(attempt, lease)
		done()
		if err == nil {
			return resp.TTL, nil
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
