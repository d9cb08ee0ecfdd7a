package cron

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// Run is one attempt at one tick that has ended, or says that ticks were missed.
type Run struct {
	Job       string    `json:"job"`
	Scheduled time.Time `json:"scheduled"`
	Started   time.Time `json:"started"`           // by the clock of its runner
	Finished  time.Time `json:"finished,omitzero"` // the same; zero if the runner lost its claim
	By        string    `json:"by"`                // name, host and process ID
	Err       string    `json:"err,omitempty"`     // empty: it succeeded
	Attempt   int       `json:"attempt"`
	Missed    int       `json:"missed,omitempty"` // not a run: so many ticks, Scheduled the last of them, that nobody ran
}

// History is the last 20 runs of a job that have ended, the oldest first. The job need not have been added here, and
// Run need not run. A job that has never run, here or elsewhere, has none; that is no error. Ticks that were missed are there, too,
// as Missed says; so is an entry that cannot be read, with nothing but Job and Err. ctx bounds the read; without a
// deadline it is bounded by five seconds.
func (c *Scheduler) History(ctx context.Context, job string) ([]Run, error) {
	return History(ctx, c.keeper.Client, job, WithNamespace(c.keeper.Namespace))
}

// History is Scheduler.History without a Scheduler: it only reads.
func History(ctx context.Context, client *clientv3.Client, job string, opts ...ListOption) ([]Run, error) {
	o, ctx, cancel, err := operation(ctx, client, job, opts)
	defer cancel()
	if err != nil {
		return nil, fmt.Errorf("cron: history: %w", err)
	}
	prefix := keyspace.Line(o.namespace, "cron", job) + runs
	kvs, err := read(ctx, client, prefix)
	if err != nil {
		return nil, fmt.Errorf("cron: history of %q: %w", job, err)
	}
	// Keys are used again and again, so their revisions tell the order.
	slices.SortFunc(kvs, func(a, b *mvccpb.KeyValue) int { return cmp.Compare(a.ModRevision, b.ModRevision) })
	history := make([]Run, len(kvs))
	for i, kv := range kvs {
		if err := json.Unmarshal(kv.Value, &history[i]); err != nil {
			history[i] = Run{Job: job, Err: fmt.Sprintf("%q cannot be read: %v", kv.Key, err)}
		}
	}
	return history, nil
}

// Job is what etcd knows of a job that has run, or that a process has.
type Job struct {
	Name     string
	Schedule string // as whoever wrote last has it
	Zone     string
	Last     time.Time // the latest tick that was started
	By       string    // who has started it
	Next     time.Time // zero if the schedule or the zone is unknown here
	Ready    []string  // the processes that have the job in a Scheduler that runs, as they call themselves
	Paused   *Pause    // nil: it is not
	Overdue  bool      // a tick should have been run by now, and was not; by the clock here
	Asked    bool      // a run beside the schedule is asked for, and has not begun
	Running  int       // ticks that run now
	Waiting  int       // ticks that wait for another attempt
	Latest   *Run      // the latest run that has ended; nil if none has
	Err      error     // the record cannot be read, and nobody runs the job: all else but Name is empty
}

type listOptions struct{ namespace string }

// ListOption is an option of what needs no Session: List, History, PauseJob, ResumeJob, TriggerJob and ForgetJob.
type ListOption interface{ list(o *listOptions) }

type listOption func(*listOptions)

func (f listOption) list(o *listOptions) { f(o) }

// WithNamespace names the jobs of Sessions that were opened with this namespace, as session.WithNamespace sets it. The default is
// "fenceline/".
func WithNamespace(prefix string) ListOption {
	return listOption(func(o *listOptions) { o.namespace = prefix })
}

// List reads all jobs that have ever run or that a process has, by name, with one request. It needs no Session. ctx bounds the read; without
// a deadline it is bounded by five seconds. A job stays until somebody deletes its keys.
func List(ctx context.Context, client *clientv3.Client, opts ...ListOption) ([]Job, error) {
	o := listOptions{namespace: "fenceline/"}
	for _, opt := range opts {
		opt.list(&o)
	}
	if client == nil {
		return nil, errors.New("cron: list: the client is nil")
	}
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("cron: list: %w", err)
	}
	kvs, err := read(ctx, client, o.namespace+"cron/")
	if err != nil {
		return nil, fmt.Errorf("cron: list: %w", err)
	}
	return JobsIn(o.namespace, kvs, time.Now()), nil
}

// JobsIn is what List returns, of keys that were read already: all under <namespace>cron/, in any order, and at one revision. It is for whoever
// reads jobs together with other things. now decides what is overdue, and which tick is next.
func JobsIn(namespace string, kvs []*mvccpb.KeyValue, now time.Time) []Job {
	prefix := namespace + "cron/"
	of := map[string][]*mvccpb.KeyValue{}
	for _, kv := range kvs {
		name, _, ok := strings.Cut(strings.TrimPrefix(string(kv.Key), prefix), "/")
		if ok {
			of[name] = append(of[name], kv)
		}
	}
	var jobs []Job
	ready := readyIn(prefix+"%at/", of["%at"])
	delete(of, "%at")
	for name := range ready {
		if _, ran := of[keyspace.Escape(name)]; !ran {
			of[keyspace.Escape(name)] = nil
		}
	}
	for escaped, kvs := range of {
		name := keyspace.Unescape(escaped)
		s := listed(prefix+escaped+"/", 0, kvs)
		switch {
		case s.broken != nil:
			jobs = append(jobs, Job{Name: name, Err: s.broken, Ready: ready[name].who})
		case s.modified > 0 || len(ready[name].who) > 0:
			jobs = append(jobs, s.describe(name, ready[name], now))
		}
	}
	slices.SortFunc(jobs, func(a, b Job) int { return cmp.Compare(a.Name, b.Name) })
	return jobs
}

func (s *state) describe(name string, ready readiness, now time.Time) Job {
	j := Job{Name: name, Schedule: s.record.Schedule, Zone: s.record.Zone, Last: s.record.Last, By: s.record.By, Latest: s.record.Latest,
		Ready: ready.who, Paused: s.record.Paused, Asked: s.record.Asked != nil}
	if s.modified == 0 {
		j.Schedule, j.Zone = ready.Schedule, ready.Zone
	}
	for _, o := range s.record.Open {
		if s.stands(o) {
			j.Running++
		} else {
			j.Waiting++
		}
	}
	if loc, err := time.LoadLocation(j.Zone); err == nil {
		if next, err := parse(j.Schedule, loc); err == nil {
			j.Next = next.Next(latest(now, j.Last))
			due := next.Next(s.record.dealt())
			j.Overdue = s.modified > 0 && j.Running+j.Waiting == 0 && j.Paused == nil && !due.IsZero() && due.Before(now.Add(-2*patience))
		}
	}
	return j
}

// read is one read of all keys under prefix.
func read(ctx context.Context, client *clientv3.Client, prefix string) ([]*mvccpb.KeyValue, error) {
	ctx, cancel := etcd.Bounded(ctx)
	defer cancel()
	resp, err := client.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, etcd.Explain(client, err, prefix)
	}
	return resp.Kvs, nil
}
