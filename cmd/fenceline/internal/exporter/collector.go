package exporter

import (
	"cmp"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fenceline/fenceline/inspect"
)

// collector is what a look at etcd says, in numbers. It holds the last look, and computes ages when it is scraped.
type collector struct {
	named func(kind, name string) string // the label of a line; empty: it is counted with the others of its kind

	mu      sync.Mutex
	look    *inspect.Traffic
	at      time.Time // when it was taken
	failed  error     // why there is no later one
	come    map[series]float64
	gone    map[series]float64
	elected map[string]bool // elections that were ever seen
	circles int             // deadlocks that were there in two looks
	before  []inspect.Deadlock
}

// series is one of a metric of lines.
type series struct{ kind, name string }

func newCollector(named func(kind, name string) string) *collector {
	return &collector{named: named, failed: errors.New("no look yet"), come: map[series]float64{}, gone: map[series]float64{}, elected: map[string]bool{}}
}

// see takes a look, or why there is none.
func (c *collector) see(t *inspect.Traffic, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed = err; err != nil {
		return
	}
	c.look, c.at = t, time.Now()
	for _, l := range t.Lines {
		if l.Kind == inspect.Strange {
			continue
		}
		of := c.series(l.Kind, l.Name)
		c.come[of] += float64(l.Come)
		c.gone[of] += float64(l.Gone)
		if l.Kind == inspect.Election && len(c.elected) < mostNames {
			c.elected[l.Name] = true
		}
	}
	c.circles = len(t.Confirmed(c.before))
	c.before = t.Deadlocks()
}

// mostNames bounds how many series of lines have a name, and how many elections are known: the others are counted by kind.
const mostNames = 1000

func (c *collector) series(kind, name string) series {
	of := series{kind, c.named(kind, name)}
	if _, known := c.come[of]; !known && of.name != "" && len(c.come) >= mostNames {
		of.name = ""
	}
	return of
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("fenceline_"+name, help, labels, nil)
}

var (
	upDesc          = desc("exporter_up", "Whether the last look at etcd succeeded.")
	lookDesc        = desc("exporter_last_look_timestamp_seconds", "When etcd was looked at last.")
	revisionDesc    = desc("exporter_revision", "Revision of etcd at the last look.")
	sessionsDesc    = desc("sessions", "Sessions of processes.")
	heldDesc        = desc("held", "Entries that hold; of a semaphore, units.", "kind", "name")
	waitingDesc     = desc("waiting", "Entries that wait; of a semaphore, units.", "kind", "name")
	limitDesc       = desc("limit", "Units of a semaphore.", "name")
	oldestHoldDesc  = desc("oldest_hold_seconds", "Age of the oldest hold that is a second old.", "kind", "name")
	oldestWaitDesc  = desc("oldest_wait_seconds", "Age of the oldest wait that is a second old.", "kind", "name")
	blockingDesc    = desc("oldest_blocking_hold_seconds", "Age of the oldest hold for which somebody waits.", "kind", "name")
	comeDesc        = desc("entries_come_total", "Entries that came into lines: calls that went to etcd.", "kind", "name")
	goneDesc        = desc("entries_gone_total", "Entries that left lines: given back, given up, or lost.", "kind", "name")
	leaderDesc      = desc("leader", "Whether somebody leads the election.", "name")
	candidatesDesc  = desc("candidates", "Candidates of the election that wait.", "name")
	deadlocksDesc   = desc("deadlocks", "Circles of owners that wait for each other, in two looks running.")
	strangersDesc   = desc("strangers", "Entries ahead in a line, or keys in the namespace, without a lease: they never go by themselves.")
	jobNextDesc     = desc("cron_next_timestamp_seconds", "Next tick of the job.", "cronjob")
	jobLastDesc     = desc("cron_last_run_timestamp_seconds", "Latest tick of the job that was started.", "cronjob")
	jobSuccessDesc  = desc("cron_last_run_success", "Whether the latest run that has ended succeeded.", "cronjob")
	jobRunSecsDesc  = desc("cron_last_run_seconds", "How long the latest run that has ended took.", "cronjob")
	jobRunningDesc  = desc("cron_running", "Ticks of the job that run.", "cronjob")
	jobReadyDesc    = desc("cron_ready", "Processes that have the job.", "cronjob")
	jobOverdueDesc  = desc("cron_overdue", "Whether a tick of the job should have been run by now.", "cronjob")
	jobPausedDesc   = desc("cron_paused", "Whether the job is paused.", "cronjob")
	instancesDesc   = desc("registry_instances", "Registered instances.", "service", "status")
	everyDescriptor = []*prometheus.Desc{upDesc, lookDesc, revisionDesc, sessionsDesc, heldDesc, waitingDesc, limitDesc, oldestHoldDesc, oldestWaitDesc, blockingDesc, comeDesc,
		goneDesc, leaderDesc, candidatesDesc, deadlocksDesc, strangersDesc, jobNextDesc, jobLastDesc, jobSuccessDesc, jobRunSecsDesc, jobRunningDesc, jobReadyDesc,
		jobOverdueDesc, jobPausedDesc, instancesDesc}
)

// Describe is of prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range everyDescriptor {
		to <- d
	}
}

// Collect is of prometheus.Collector.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(upDesc, truth(c.failed == nil))
	if c.look == nil {
		return
	}
	gauge(lookDesc, seconds(c.at))
	gauge(revisionDesc, float64(c.look.Revision))
	gauge(sessionsDesc, float64(len(c.look.Sessions)))
	gauge(deadlocksDesc, float64(c.circles))
	c.collectLines(gauge)
	for of, n := range c.come {
		to <- prometheus.MustNewConstMetric(comeDesc, prometheus.CounterValue, n, of.kind, of.name)
	}
	for of, n := range c.gone {
		to <- prometheus.MustNewConstMetric(goneDesc, prometheus.CounterValue, n, of.kind, of.name)
	}
	for _, j := range c.look.Jobs {
		if !j.Next.IsZero() {
			gauge(jobNextDesc, seconds(j.Next), j.Name)
		}
		if !j.Last.IsZero() {
			gauge(jobLastDesc, seconds(j.Last), j.Name)
		}
		if r := j.Latest; r != nil {
			gauge(jobSuccessDesc, truth(r.Err == "" && !r.Finished.IsZero()), j.Name)
			if !r.Finished.IsZero() { // else it was lost, and when it ended nobody knows
				gauge(jobRunSecsDesc, r.Finished.Sub(r.Started).Seconds(), j.Name)
			}
		}
		gauge(jobRunningDesc, float64(j.Running), j.Name)
		gauge(jobReadyDesc, float64(len(j.Ready)), j.Name)
		gauge(jobOverdueDesc, truth(j.Overdue), j.Name)
		gauge(jobPausedDesc, truth(j.Paused != nil), j.Name)
	}
	for service, all := range c.look.Services {
		by := map[string]int{}
		for _, in := range all {
			by[string(in.Status)]++
		}
		for status, n := range by {
			gauge(instancesDesc, float64(n), service, status)
		}
	}
}

// counts are the gauges of one series of lines.
type counts struct {
	held, waiting        int64
	hold, wait, blocking time.Duration
}

func (c *collector) collectLines(gauge func(*prometheus.Desc, float64, ...string)) {
	now := time.Now()
	all := map[series]*counts{}
	for of := range c.come { // what was ever seen stays, and is zero
		all[of] = &counts{}
	}
	leads := map[string]bool{}
	strangers := 0
	for _, l := range c.look.Snapshot.Lines {
		if l.Kind == inspect.Strange {
			strangers += len(l.Entries)
			continue
		}
		n := all[c.series(l.Kind, l.Name)]
		waits, candidates := false, 0
		var oldest time.Duration
		for i := range l.Entries {
			e := &l.Entries[i]
			units := cmp.Or(e.Units, 1)
			if e.Lease == "" && (l.Kind == inspect.Lock || l.Kind == inspect.RWLock || l.Kind == inspect.Election || l.Kind == inspect.Semaphore) {
				strangers++
			}
			var age time.Duration
			if since := e.Since(); !since.IsZero() {
				age = max(now.Sub(since), 0)
			}
			if e.State == inspect.Waits {
				n.waiting, n.wait = n.waiting+units, max(n.wait, age)
				waits = true
				candidates++
				continue
			}
			n.held, n.hold = n.held+units, max(n.hold, age)
			oldest = max(oldest, age)
			leads[l.Name] = leads[l.Name] || l.Kind == inspect.Election
		}
		if waits {
			n.blocking = max(n.blocking, oldest)
		}
		if l.Kind == inspect.Election {
			gauge(candidatesDesc, float64(candidates), l.Name)
		}
		if name := c.named(l.Kind, l.Name); l.Kind == inspect.Semaphore && name != "" && l.Limit > 0 {
			gauge(limitDesc, float64(l.Limit), name)
		}
	}
	for of, n := range all {
		gauge(heldDesc, float64(n.held), of.kind, of.name)
		gauge(waitingDesc, float64(n.waiting), of.kind, of.name)
		gauge(oldestHoldDesc, n.hold.Seconds(), of.kind, of.name)
		gauge(oldestWaitDesc, n.wait.Seconds(), of.kind, of.name)
		gauge(blockingDesc, n.blocking.Seconds(), of.kind, of.name)
	}
	for name := range c.elected {
		gauge(leaderDesc, truth(leads[name]), name)
	}
	gauge(strangersDesc, float64(strangers))
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
