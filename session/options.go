package session

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/fenceline/fenceline/internal/keeper"
)

type options struct {
	ttl       time.Duration
	namespace string
	name      string
	labels    map[string]string
	log       *slog.Logger
	trace     *Trace
}

// Option changes a Session from its defaults.
type Option func(*options)

// WithTTL sets how long etcd keeps what this process holds after it has last heard of it. Default 15 s; whole
// seconds, from 2 s to 24 h. Short ones find a dead process sooner and lose healthy ones to shorter hiccups; etcd may
// grant more than was asked for.
func WithTTL(ttl time.Duration) Option { return func(o *options) { o.ttl = ttl } }

// WithNamespace sets the prefix of all keys. Default "fenceline/". Processes must share it to meet.
func WithNamespace(prefix string) Option { return func(o *options) { o.namespace = prefix } }

// WithName sets how `fenceline ls` calls this process. Default: the program's name.
func WithName(name string) Option { return func(o *options) { o.name = name } }

// WithLabels sets what is shown next to the name. Default: nothing.
func WithLabels(labels map[string]string) Option { return func(o *options) { o.labels = labels } }

// WithLogger has trouble with etcd reported to l. Default: silent.
func WithLogger(l *slog.Logger) Option { return func(o *options) { o.log = l } }

// WithTrace sets hooks. Default: none.
func WithTrace(t *Trace) Option { return func(o *options) { o.trace = t } }

// Trace is a set of hooks, in the manner of net/http/httptrace; any may be nil. They are called without locks held
// and must not block. kind is "lock" for a Mutex, "rwlock", "election", "semaphore", "barrier", "registry".
type Trace struct {
	// StateChanged: cause says why when it got worse, and is nil when it got better.
	StateChanged func(from, to State, cause error)
	// Queued: an entry stands in etcd's line with so many ahead of it. Once per entry, also when it queues again.
	Queued func(kind, name string, ahead int)
	// Granted: a call got what it asked for, so long after it began.
	Granted func(kind, name string, waited time.Duration)
	// Released: a hold was given back, so long after it was granted.
	Released func(kind, name string, held time.Duration)
	// Lost: a hold ended otherwise. The hold's Context has ended before.
	Lost func(kind, name string, cause error)
	// Overrun: what runs under a hold still runs, so long after others may hold. Lead calls it for a leader that ignores
	// its ctx.
	Overrun func(kind, name string, by time.Duration)
}

func (t *Trace) hooks() keeper.Hooks {
	if t == nil {
		return keeper.Hooks{}
	}
	h := keeper.Hooks{Queued: t.Queued, Granted: t.Granted, Released: t.Released, Lost: t.Lost, Overrun: t.Overrun}
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
	Closing bool              `json:"closing,omitempty"` // the Session is giving its lease back
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
