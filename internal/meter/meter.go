package meter

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Outcome is how a call that wanted to hold has ended.
type Outcome int

const (
	Granted  Outcome = iota
	Held             // a try: somebody was ahead
	Timeout          // the deadline of its ctx had passed
	Canceled         // its ctx ended otherwise
	Lost             // the session was closed, or its lease lost
	Limit            // too many waited, or it asked for more than there is
	Failed           // anything else, as a missing permission
	outcomes
)

// String is the outcome in lower case.
func (o Outcome) String() string {
	return [...]string{"granted", "held", "timeout", "canceled", "lost", "limit", "failed"}[o]
}

// Path is how a grant came about.
type Path uint8

const (
	Free  Path = iota // nobody was ahead
	Local             // another goroutine of the session handed its entry over
	Etcd              // it stood in etcd's line
	paths
)

// String is the path in lower case.
func (p Path) String() string { return [...]string{"free", "local", "etcd"}[p] }

// Reason is why a hold was lost.
type Reason int

const (
	Expired  Reason = iota // no renewal was acknowledged in time
	Revoked                // etcd says that the lease does not exist
	Deleted                // somebody deleted or overwrote the entry
	Broken                 // on purpose: see session.BrokenError
	Restored               // etcd has gone back to an earlier state
	Closed                 // the session was closed
	reasons
)

// String is the reason in lower case.
func (r Reason) String() string {
	return [...]string{"expired", "revoked", "deleted", "broken", "restored", "closed"}[r]
}

// MostNames is how many series have a name; what comes after them is counted with those that have none.
const MostNames = 1000

// Meter counts for one Session.
type Meter struct {
	name func(kind, name string) string // the label of a line; empty: it is counted with the others of its kind

	mu     sync.Mutex
	series map[Key]*Series
	named  int
	jobs   map[string]*Job

	next     atomic.Uint32 // shard
	requests requests
	renewals histogram
	failures atomic.Uint64
	epochs   atomic.Uint64
}

// Key names a series.
type Key struct{ Kind, Name string }

// New counts lines by name where name is not nil and returns one. Elections have names always.
func New(name func(kind, name string) string) *Meter {
	return &Meter{name: name, series: map[Key]*Series{}, jobs: map[string]*Job{}}
}

// wanted asks the user's function: without the mutex.
func (m *Meter) wanted(kind, name string) Key {
	switch {
	case kind == "election":
		return Key{kind, name}
	case m.name == nil:
		return Key{Kind: kind}
	}
	return Key{kind, m.name(kind, name)}
}

func (m *Meter) bounded(k Key) Key {
	if _, known := m.series[k]; !known && k.Name != "" && m.named >= MostNames {
		k.Name = ""
	}
	return k
}

// Series counts what happens in lines of one key.
type Series struct{ shards []*Shard }

// Shard is where a line counts. Lines of one series that are busy at once have different ones, as a rule.
type Shard struct {
	Key       Key                                                       // of its series
	waits     [int(outcomes) + int(paths) - 1]atomic.Pointer[histogram] // of those that were granted, by path
	handOvers [paths]atomic.Pointer[histogram]
	released  atomic.Pointer[histogram]
	lost      atomic.Pointer[histogram]
	lostBy    [reasons]atomic.Uint64
	overrun   atomic.Int64
	_         [64]byte // others write beside it
}

// Shard is one to count in for a line. It asks the user's function for the label: no mutex may be held.
func (m *Meter) Shard(kind, name string) *Shard {
	k := m.wanted(kind, name)
	m.mu.Lock()
	defer m.mu.Unlock()
	k = m.bounded(k)
	s, ok := m.series[k]
	if !ok {
		s = &Series{}
		for range min(runtime.GOMAXPROCS(0), 16) {
			s.shards = append(s.shards, &Shard{Key: k})
		}
		m.series[k] = s
		if k.Name != "" {
			m.named++
		}
	}
	return s.shards[int(m.next.Add(1))%len(s.shards)]
}

// at is the histogram of p, made now if there is none.
func at(p *atomic.Pointer[histogram]) *histogram {
	if h := p.Load(); h != nil {
		return h
	}
	p.CompareAndSwap(nil, &histogram{})
	return p.Load()
}

// Granted counts a grant, to a call that has waited so long.
func (s *Shard) Granted(path Path, waited time.Duration) { at(&s.waits[path]).observe(waited) }

// Brief are grants and ends of holds that took no time worth telling apart: nobody waited, and the hold lasted less than a microsecond.
// A line gathers them with its mutex held, which costs less than to count each.
type Brief struct {
	granted  [paths]uint64
	released uint64
	held     time.Duration
}

// Granted takes a grant if it is brief.
func (b *Brief) Granted(path Path, waited time.Duration) bool {
	if waited > 0 {
		return false
	}
	b.granted[path]++
	return true
}

const briefest = 950 * time.Nanosecond // ends before the first bucket does

// Released takes the end of a hold if it was brief.
func (b *Brief) Released(held time.Duration) bool {
	if held > briefest {
		return false
	}
	b.released++
	b.held += held
	return true
}

// Brief counts what was gathered.
func (s *Shard) Brief(b *Brief) {
	for path, n := range b.granted {
		if n > 0 {
			at(&s.waits[path]).brief(n, 0)
		}
	}
	if b.released > 0 {
		at(&s.released).brief(b.released, b.held)
	}
	*b = Brief{}
}

// Failed counts a call that ended without one.
func (s *Shard) Failed(how Outcome, waited time.Duration) {
	at(&s.waits[int(paths)+int(how)-1]).observe(waited)
}

// HandedOver counts for how long nobody had what was handed over, as far as is known here.
func (s *Shard) HandedOver(path Path, idle time.Duration) { at(&s.handOvers[path]).observe(idle) }

// Released counts a hold that was given back.
func (s *Shard) Released(held time.Duration) { at(&s.released).observe(held) }

// Lost counts one that was lost.
func (s *Shard) Lost(why Reason, held time.Duration) {
	at(&s.lost).observe(held)
	s.lostBy[why].Add(1)
}

// Overrun counts for how long somebody went on after another may have held.
func (s *Shard) Overrun(by time.Duration) { s.overrun.Add(int64(by)) }

// Job counts the runs of a job of cron's.
type Job struct {
	delays, runs   histogram
	failed, missed atomic.Uint64
	lost, timeouts atomic.Uint64
	running        atomic.Int64
	success        atomic.Int64 // when the last one ended; 0: none has
}

// Job is that of a name.
func (m *Meter) Job(name string) *Job {
	m.mu.Lock()
	defer m.mu.Unlock()
	j, ok := m.jobs[name]
	if !ok {
		if len(m.jobs) >= MostNames {
			name = ""
		}
		if j, ok = m.jobs[name]; !ok {
			j = &Job{}
			m.jobs[name] = j
		}
	}
	return j
}

// Started counts a run that began so late.
func (j *Job) Started(late time.Duration) {
	j.running.Add(1)
	j.delays.observe(late)
}

// RunOutcome is how a run of a job has ended.
type RunOutcome int

const (
	Succeeded RunOutcome = iota
	Erred
	TimedOut
	ClaimLost
)

// String is the outcome in lower case.
func (o RunOutcome) String() string {
	return [...]string{"success", "error", "timeout", "lost"}[o]
}

// Ended counts how one has ended, at now.
func (j *Job) Ended(how RunOutcome, took time.Duration, now time.Time) {
	j.running.Add(-1)
	j.runs.observe(took)
	switch how {
	case Succeeded:
		j.success.Store(now.UnixNano())
	case Erred:
		j.failed.Add(1)
	case TimedOut:
		j.timeouts.Add(1)
	case ClaimLost:
		j.lost.Add(1)
	}
}

// Missed counts ticks that were passed over.
func (j *Job) Missed(n int) { j.missed.Add(uint64(n)) }

// Renewed counts a renewal that took so long.
func (m *Meter) Renewed(took time.Duration) { m.renewals.observe(took) }

// NotRenewed counts one that failed.
func (m *Meter) NotRenewed() { m.failures.Add(1) }

// Entered counts a lease that was taken.
func (m *Meter) Entered() { m.epochs.Add(1) }
