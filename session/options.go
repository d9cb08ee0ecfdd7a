package session

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/meter"
)

type options struct {
	ttl       time.Duration
	lease     clientv3.LeaseID
	namespace string
	name      string
	labels    map[string]string
	log       *slog.Logger
	traces    []*Trace
	meter     *meter.Meter
	profile   bool
	witness   *string
}

// Option changes a Session from its defaults.
type Option func(*options)

// WithTTL sets how long etcd keeps what this process holds after it has last heard of it. Default 15 s; whole
// seconds, from 2 s to 24 h. Short ones find a dead process sooner and lose healthy ones to shorter hiccups; etcd may
// grant more than was asked for.
func WithTTL(ttl time.Duration) Option { return func(o *options) { o.ttl = ttl } }

// WithLease makes the Session begin with a lease that lives: of a Session that was given up by Orphan, or whose process is gone. So a process
// that starts again goes on with what it held: the first Acquire of a lock.Mutex, and the first Campaign of an Election, take over the entry
// that stands under the lease, with its place in the line. The token is larger than all before it. What else was held there is given back by
// the first call for the same name; what nobody asks for stays until the Session ends.
//
// Open returns an error that is ErrRevoked if there is no such lease. The TTL is then that of the lease; WithTTL is for those after it, which
// the Session takes when it loses this one. Two Sessions must never go on with one lease at a time: both would believe that they hold. After
// 63 times of handing on, entries are not taken over any more, since their tokens are used up.
//
// It is about what hangs on this lease. A Session with more than some 128 entries has further leases, which run out by themselves then. The user
// has to be allowed to read all keys under the lease.
func WithLease(id clientv3.LeaseID) Option { return func(o *options) { o.lease = id } }

// WithNamespace sets the prefix of all keys. Default "fenceline/". Processes must share it to meet.
func WithNamespace(prefix string) Option { return func(o *options) { o.namespace = prefix } }

// WithName sets how `fenceline ls` calls this process. Default: the program's name.
func WithName(name string) Option { return func(o *options) { o.name = name } }

// WithLabels sets what is shown next to the name. Default: nothing.
func WithLabels(labels map[string]string) Option { return func(o *options) { o.labels = labels } }

// WithLogger reports trouble with etcd to l, on the goroutine of Trace's hooks: a handler that blocks delays neither a
// renewal nor the end of a hold. Default: silent.
func WithLogger(l *slog.Logger) Option { return func(o *options) { o.log = l } }

// WithWitness has the witness at this socket give back what the Session holds, at once, when this process is known to be dead: killed, or out of
// memory, or by a panic. Without one, others wait for up to one TTL. The default is what the environment variable FENCELINE_WITNESS says, which "fenceline
// witness" sets for its command, and "fenceline agent" asks for; empty: none. Linux only.
//
// A witness that cannot be reached is a warning to the logger, and changes nothing: then the TTL decides. A program that starts processes which
// may act under what the Session holds, and may outlive it, says so before: see Session.SetChildren. A lease that a witness watches cannot be gone on with
// (WithLease) unless its Session has ended by Orphan.
func WithWitness(path string) Option { return func(o *options) { o.witness = &path } }

// WithTrace adds hooks to those of earlier options. Default: none.
func WithTrace(t *Trace) Option {
	return func(o *options) {
		if t != nil {
			o.traces = append(o.traces, t)
		}
	}
}

// WithMetrics has the Session count what it does, for a collector of package metrics/prom or a producer of metrics/otel. An acquisition costs
// no clock reading, no mutex and no allocation more for that.
//
// Locks and so on are counted by kind. Those for whose name the function returns a label have series of their own: fold what has no bound, as
// IDs, into one label, or return "". After 1 000 labels the rest counts by kind. nil: no labels. Elections and jobs have series of their own
// always, also up to 1 000.
func WithMetrics(label func(kind, name string) string) Option {
	return func(o *options) { o.meter = meter.New(label) }
}

// WithProfileLabels runs the functions of Do, DoRead, DoWrite and Lead, and those of cron's jobs, under the pprof label that says under which
// hold: lock=NAME, rwlock=NAME, semaphore=NAME, election=NAME, cron=NAME. So a CPU profile tells for which lock the time went, and one of
// goroutines who waits inside of which. Goroutines that they start inherit it.
func WithProfileLabels() Option { return func(o *options) { o.profile = true } }

// Trace is a set of hooks, in the manner of net/http/httptrace; any may be nil. But for WaitStart, WaitEnd, HoldEnd, RunStart and RunEnd, they are called
// one after the other, in the order of events and shortly after them, on a goroutine of the Session's own: one that blocks delays those after it, and
// nothing else. Of events that wait for it, 10 000 are kept. A hook may use the Session, and may Close it. kind is "lock"
// for a Mutex, "rwlock", "election", "semaphore", "barrier", "registry", "cron".
//
// Accounts add up: of what was granted, all is held, or was released or lost.
type Trace struct {
	// StateChanged: cause says why when it got worse, and is nil when it got better.
	StateChanged func(from, to State, cause error)
	// Queued: an entry stands in etcd's line with so many ahead of it. Once per entry, also when it queues again.
	Queued func(kind, name string, ahead int)
	// Granted: a call got what it asked for, so long after it began.
	Granted func(kind, name string, waited time.Duration)
	// Released: a hold was given back, so long after it was granted.
	Released func(kind, name string, held time.Duration)
	// Lost: a hold ended otherwise, for one at the Session's Close, with ErrClosed. The hold's Context has ended before. For
	// each lock of a Set it is called once.
	Lost func(kind, name string, cause error)
	// Overrun: a function run under a hold is still running, so long after another process may hold, or after it was told to
	// step down for its health. It is called for a function of Lead's, and for a job of cron's, that ignores its ctx.
	Overrun func(kind, name string, by time.Duration)
	// Missed: so many ticks of a job of cron's were passed over: nobody was there, or etcd was away, or an earlier run was not
	// done. The process that finds it out first is the one that is told.
	Missed func(kind, name string, ticks int)
	// Stalled: a job of cron's is not run here, and why; nil: it is again. Each cause is told once.
	Stalled func(kind, name string, why error)
	// Asked: somebody wants a hold to be given back, as "fenceline release" does; see lock.Lock.Asked. Nothing happens by itself.
	Asked func(kind, name string, r Request)

	// WaitStart: a call wants to hold. It runs on the call's own goroutine, as the next one does, and delays it. The ctx that it returns is the
	// call's from then on: that of WaitEnd and HoldEnd, and the parent of the hold's Context. It must come from the one that it got.
	WaitStart func(ctx context.Context, w Wait) context.Context
	// WaitEnd: that call ends, with a hold or an error.
	WaitEnd func(ctx context.Context, w Wait, e WaitEnd)
	// HoldEnd: a hold ends; ctx is that of its WaitEnd. That of a Set is told once. One that is given back is told of on the goroutine that does
	// so, before its Release returns; one that is lost, in the order of events.
	HoldEnd func(ctx context.Context, w Wait, e HoldEnd)
	// Abandoned: a call ended without a hold, so long after it began, and why. With WaitEnd, but in the order of events.
	Abandoned func(kind, name string, waited time.Duration, err error)
	// RunStart: a job of cron's begins here, on its own goroutine. fn gets the ctx that is returned, which must come from the one given.
	RunStart func(ctx context.Context, r CronRun) context.Context
	// RunEnd: it has returned.
	RunEnd func(ctx context.Context, r CronRun, e CronRunEnd)
	// Renewed: a renewal was acknowledged, or has failed.
	Renewed func(r Renewal)
	// Registered: an instance stands in etcd, or does not any more; cause: it was lost, and comes back by itself.
	Registered func(service, id string, stands bool, cause error)
}

// What hooks are told of.
type (
	// Wait is a call that wants to hold.
	Wait = keeper.Wait
	// WaitEnd is how it has ended.
	WaitEnd = keeper.WaitEnd
	// HoldEnd is how a hold has ended.
	HoldEnd = keeper.HoldEnd
	// Renewal is one of the Session's lease.
	Renewal = keeper.Renewal
	// CronRun is a tick of a job that runs here.
	CronRun = keeper.CronRun
	// CronRunEnd is how it has ended.
	CronRunEnd = keeper.CronRunEnd
)

// Request is who wants a hold to be given back, and why.
type Request = keeper.Request

func (t *Trace) hooks() keeper.Hooks {
	h := keeper.Hooks{Queued: t.Queued, Granted: t.Granted, Released: t.Released, Lost: t.Lost, Overrun: t.Overrun, Missed: t.Missed, Stalled: t.Stalled, Asked: t.Asked,
		WaitStart: t.WaitStart, WaitEnd: t.WaitEnd, HoldEnd: t.HoldEnd, Abandoned: t.Abandoned, RunStart: t.RunStart, RunEnd: t.RunEnd, Renewed: t.Renewed, Registered: t.Registered}
	if t.StateChanged != nil {
		h.State = func(from, to keeper.State, cause error) { t.StateChanged(State(from), State(to), cause) }
	}
	return h
}

// Record is the value of a session's key in etcd, as JSON.
type Record struct {
	Name    string            `json:"name"`
	Host    string            `json:"host,omitempty"`
	PID     int               `json:"pid"`
	Started time.Time         `json:"started"` // of the process's Session, by its wall clock
	Version string            `json:"version,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	// How often the lease was handed on from one Session to another, see WithLease.
	Continued int `json:"continued,omitempty"`
	// Of is empty but under a further lease of a Session with many entries: there it is the first lease, in hex.
	Of string `json:"of,omitempty"`
	// Witness is the hash of a secret: whoever shows it may have the lease revoked, see WithWitness. Empty: nobody may.
	Witness string `json:"witness,omitempty"`
	Closing bool   `json:"closing,omitempty"` // the Session is giving its lease back
}

func (o *options) record() (string, error) {
	r := Record{Name: o.name, PID: os.Getpid(), Started: time.Now().UTC().Truncate(time.Millisecond), Labels: o.labels}
	if r.Name == "" {
		r.Name = filepath.Base(os.Args[0])
	}
	r.Host, _ = os.Hostname() // a record without a host is still a record
	r.Version = version()
	text, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("session: record: %w", err)
	}
	return string(text), nil
}

// version is that of this library in the running program.
func version() string {
	const path = "github.com/fenceline/fenceline"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == path {
			return m.Version
		}
	}
	return ""
}
