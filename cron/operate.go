package cron

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
	"unicode/utf8"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keyspace"
)

var (
	// ErrUnknown: no such job has ever run, and no process has it.
	ErrUnknown = errors.New("cron: unknown job")
	// ErrNobody: no process has the job, so that nobody would run it.
	ErrNobody = errors.New("cron: no process has the job")
	// ErrRunning: the job runs just now.
	ErrRunning = errors.New("cron: the job runs")
)

// Pause says that a job is not to be run, and who wants that.
type Pause struct {
	By    string    `json:"by"`
	Since time.Time `json:"since"`
}

// PauseJob keeps every process from starting the job until ResumeJob: no tick, and no further attempt. A run that is under way goes
// on, and TriggerJob works. To pause a paused job changes nothing. ErrUnknown: there is no such job. Like all functions of
// this kind it needs no Session, and writes the job's record by compare-and-swap; ctx bounds it, or five seconds.
func PauseJob(ctx context.Context, client *clientv3.Client, job string, opts ...ListOption) error {
	return operate(ctx, client, "pause", job, opts, func(r *record, _ Job) (bool, error) {
		if r.Paused != nil {
			return false, nil
		}
		r.Paused = &Pause{By: operator(), Since: wallTime()}
		return true, nil
	})
}

// ResumeJob undoes PauseJob. Ticks that came meanwhile are not made good, and are not missed.
func ResumeJob(ctx context.Context, client *clientv3.Client, job string, opts ...ListOption) error {
	return operate(ctx, client, "resume", job, opts, func(r *record, _ Job) (bool, error) {
		if r.Paused == nil {
			return false, nil
		}
		r.Paused = nil
		r.Last = latest(r.Last, time.Now().UTC().Truncate(time.Second))
		return true, nil
	})
}

// TriggerJob makes one of the processes that have the job run it now, beside the schedule, once; when one runs already, after
// that, but with WithOverlap. Such a run has the time of the request as its Scheduled, and WithRetries holds for it. A second request before
// the first was taken up changes nothing. ErrNobody: no process has the job.
func TriggerJob(ctx context.Context, client *clientv3.Client, job string, opts ...ListOption) error {
	return operate(ctx, client, "run", job, opts, func(r *record, j Job) (bool, error) {
		if len(j.Ready) == 0 {
			return false, ErrNobody
		}
		if r.Asked != nil {
			return false, nil
		}
		now := wallTime()
		r.Asked = &asked{ID: fmt.Sprintf("%d", now.UnixNano()), At: now, By: operator()}
		return true, nil
	})
}

// ForgetJob deletes all that etcd has of a job: its record, with Pause, and its history. A process that has the job makes a new
// record with its next tick, and that has missed nothing. It is also the remedy for a record that cannot be read, or whose last
// tick lies in the future. ErrRunning: it runs; nothing was deleted.
// ErrUnknown: there is nothing to delete.
func ForgetJob(ctx context.Context, client *clientv3.Client, job string, opts ...ListOption) error {
	o, ctx, cancel, err := operation(ctx, client, job, opts)
	defer cancel()
	if err == nil {
		prefix := keyspace.Line(o.namespace, "cron", job)
		var resp *clientv3.TxnResponse
		resp, err = client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(prefix+claims).WithPrefix(), "=", 0)).
			Then(clientv3.OpDelete(prefix, clientv3.WithPrefix())).Commit()
		switch {
		case err != nil:
			err = etcd.Explain(client, err, prefix)
		case !resp.Succeeded:
			err = ErrRunning
		case resp.Responses[0].GetResponseDeleteRange().Deleted == 0:
			err = ErrUnknown
		}
	}
	if err != nil {
		return fmt.Errorf("cron: forget %q: %w", job, err)
	}
	return nil
}

// operate changes a record, if f wants that.
func operate(ctx context.Context, client *clientv3.Client, verb, job string, opts []ListOption, f func(*record, Job) (bool, error)) error {
	o, ctx, cancel, err := operation(ctx, client, job, opts)
	defer cancel()
	for again := true; again && err == nil; {
		again, err = operateOnce(ctx, client, o, job, f)
	}
	if err != nil {
		return fmt.Errorf("cron: %s %q: %w", verb, job, err)
	}
	return nil
}

func operateOnce(ctx context.Context, client *clientv3.Client, o listOptions, job string, f func(*record, Job) (bool, error)) (again bool, err error) {
	prefix := keyspace.Line(o.namespace, "cron", job)
	at := schedulersIn(o.namespace)
	resp, err := client.Txn(ctx).Then(clientv3.OpGet(prefix+claims, clientv3.WithRange(prefix+runs)), clientv3.OpGet(at, clientv3.WithPrefix())).Commit()
	if err != nil {
		return false, etcd.Explain(client, err, prefix)
	}
	s := listed(prefix, resp.Header.Revision, resp.Responses[0].GetResponseRange().Kvs)
	ready := readyIn(at, resp.Responses[1].GetResponseRange().Kvs)[job]
	switch {
	case s.broken != nil:
		return false, s.broken
	case s.modified == 0 && len(ready.who) == 0:
		return false, ErrUnknown
	}
	r := s.record
	if s.modified == 0 {
		r.Schedule, r.Zone = ready.Schedule, ready.Zone
		r.Last = wallTime().Truncate(time.Second)
	}
	change, err := f(&r, Job{Ready: ready.who})
	if err != nil || !change {
		return false, err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return false, err
	}
	done, err := client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(prefix+main), "=", s.modified)).
		Then(clientv3.OpPut(prefix+main, string(text))).Commit()
	if err != nil {
		return false, etcd.Explain(client, err, prefix)
	}
	return !done.Succeeded, nil
}

// operation checks what an operator asks for.
func operation(ctx context.Context, client *clientv3.Client, job string, opts []ListOption) (listOptions, context.Context, context.CancelFunc, error) {
	o := listOptions{namespace: "fenceline/"}
	for _, opt := range opts {
		opt.list(&o)
	}
	ctx, cancel := etcd.Bounded(ctx)
	if client == nil {
		return o, ctx, cancel, errors.New("the client is nil")
	}
	if err := o.check(); err != nil {
		return o, ctx, cancel, err
	}
	return o, ctx, cancel, keyspace.CheckName("job", job)
}

func (o listOptions) check() error {
	if o.namespace == "" || len(o.namespace) > keyspace.MaxName || !utf8.ValidString(o.namespace) {
		return fmt.Errorf("namespace %q: want 1 to %d bytes of UTF-8", o.namespace, keyspace.MaxName)
	}
	return nil
}

func wallTime() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// operator is this process, for people.
func operator() string {
	host, _ := os.Hostname() // without one there is still the number of the process
	program, _ := os.Executable()
	return fmt.Sprintf("%s@%s pid %d", filepath.Base(program), host, os.Getpid())
}
