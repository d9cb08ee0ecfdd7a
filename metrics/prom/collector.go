package prom

import (
	"errors"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/meter"
	"github.com/fenceline/fenceline/session"
)

// ErrNoMetrics: the Session counts nothing.
var ErrNoMetrics = errors.New("prom: the Session was opened without session.WithMetrics")

// Option changes a Collector from its defaults.
type Option func(*options)

type options struct{ labels prometheus.Labels }

// WithLabels adds these labels to all metrics: so that several Sessions of a process can be told apart. Default: none.
func WithLabels(labels prometheus.Labels) Option {
	return func(o *options) { o.labels = labels }
}

// Collector is a prometheus.Collector of one Session.
type Collector struct {
	session *session.Session
	d       *descs
}

// NewCollector returns ErrNoMetrics for a Session that counts nothing.
func NewCollector(s *session.Session, opts ...Option) (*Collector, error) {
	if keeper.Of(s).Meter == nil {
		return nil, ErrNoMetrics
	}
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	return &Collector{s, newDescs(o.labels)}, nil
}

type descs struct {
	wait, hold, handOver, held, waiting, oldestHold, oldestWait, lost, overrun             *prometheus.Desc
	state, remaining, ttl, renew, renewFailures, epochs, requests                          *prometheus.Desc
	leader, master, terms                                                                  *prometheus.Desc
	cronRuns, cronRun, cronDelay, cronMissed, cronSuccess, cronRunning, registered, wanted *prometheus.Desc
	all                                                                                    []*prometheus.Desc
}

func newDescs(labels prometheus.Labels) *descs {
	d := &descs{}
	desc := func(name, help string, names ...string) *prometheus.Desc {
		one := prometheus.NewDesc(name, help, names, labels)
		d.all = append(d.all, one)
		return one
	}
	d.wait = desc("fenceline_acquire_wait_seconds", "How long calls waited that wanted to hold, by how that ended and, if they got it, by how that came about.", "kind", "name", "outcome", "path")
	d.hold = desc("fenceline_hold_seconds", "How long holds lasted, by how they ended.", "kind", "name", "end")
	d.handOver = desc("fenceline_handover_seconds", "For how long nobody held, from when the process knew that nobody was ahead in etcd until a call held.", "kind", "name", "path")
	d.held = desc("fenceline_held", "Holds of this process; of a semaphore, units.", "kind", "name")
	d.waiting = desc("fenceline_waiting", "Calls of this process that wait; of a semaphore, units.", "kind", "name")
	d.oldestHold = desc("fenceline_oldest_hold_seconds", "Age of the oldest hold of this process.", "kind", "name")
	d.oldestWait = desc("fenceline_oldest_wait_seconds", "Age of the oldest call of this process that waits.", "kind", "name")
	d.lost = desc("fenceline_lost_total", "Holds that were lost, by why.", "kind", "name", "reason")
	d.overrun = desc("fenceline_overrun_seconds_total", "For how long functions had gone on after their hold was lost, when that was noticed.", "kind", "name")
	d.state = desc("fenceline_session_state", "1 for the state that the Session is in.", "state")
	d.remaining = desc("fenceline_session_remaining_seconds", "For how long the lease is trusted if no renewal gets through.")
	d.ttl = desc("fenceline_session_ttl_seconds", "For how long etcd keeps the lease after a renewal; what was asked for while there is none.")
	d.renew = desc("fenceline_session_renew_seconds", "Round trips of renewals.")
	d.renewFailures = desc("fenceline_session_renew_failures_total", "Renewals that failed.")
	d.epochs = desc("fenceline_session_epochs_total", "Leases that the Session has had.")
	d.requests = desc("fenceline_etcd_requests_total", "Requests of the Session's, by how they ended.", "op", "code")
	d.leader = desc("fenceline_leader", "1 while this process leads.", "name")
	d.master = desc("leader_election_master_status", "1 while this process leads, as the clients of Kubernetes call it.", "name")
	d.terms = desc("fenceline_leader_terms_total", "Terms that this process has won.", "name")
	d.cronRuns = desc("fenceline_cron_runs_total", "Runs of the job here, by how they ended.", "cronjob", "outcome")
	d.cronRun = desc("fenceline_cron_run_seconds", "How long runs of the job took.", "cronjob")
	d.cronDelay = desc("fenceline_cron_start_delay_seconds", "How late runs of the job began.", "cronjob")
	d.cronMissed = desc("fenceline_cron_missed_total", "Ticks of the job that were passed over, as this process found out.", "cronjob")
	d.cronSuccess = desc("fenceline_cron_last_success_timestamp_seconds", "When the job last succeeded here.", "cronjob")
	d.cronRunning = desc("fenceline_cron_running", "Runs of the job that are under way here.", "cronjob")
	d.registered = desc("fenceline_registry_registered", "Instances of the service, of this process, that stand in etcd.", "service")
	d.wanted = desc("fenceline_registry_wanted", "Instances of the service that this process wants to stand.", "service")
	return d
}

// Describe is of prometheus.Collector.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range c.d.all {
		to <- d
	}
}

// Collect is of prometheus.Collector.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	r, d := keeper.Of(c.session).Read(), c.d
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	histogram := func(d *prometheus.Desc, h *meter.Histogram, labels ...string) {
		to <- newHistogram(d, h, labels)
	}
	now := c.session.State()
	for state := session.Live; state <= session.Closed; state++ {
		gauge(d.state, truth(now == state), state.String())
	}
	remaining := 0.0
	if deadline := c.session.Deadline(); !deadline.IsZero() {
		remaining = max(time.Until(deadline).Seconds(), 0)
	}
	gauge(d.remaining, remaining)
	gauge(d.ttl, keeper.Of(c.session).LeaseTTL().Seconds())
	histogram(d.renew, &r.Renewals)
	counter(d.renewFailures, float64(r.RenewFailures))
	counter(d.epochs, float64(r.Epochs))
	for req, n := range r.Requests {
		counter(d.requests, float64(n), req.Op, req.Code.String())
	}
	for i := range r.Lines {
		l := &r.Lines[i]
		kind, name := l.Kind, strings.ToValidUTF8(l.Name, "?")
		for w, h := range l.Waits {
			path := ""
			if w.Outcome == meter.Granted {
				path = w.Path.String()
			}
			histogram(d.wait, h, kind, name, w.Outcome.String(), path)
		}
		for path, h := range l.HandOvers {
			histogram(d.handOver, h, kind, name, path.String())
		}
		histogram(d.hold, &l.Released, kind, name, "released")
		histogram(d.hold, &l.Lost, kind, name, "lost")
		for why := meter.Expired; why <= meter.Closed; why++ {
			counter(d.lost, float64(l.LostBy[why]), kind, name, why.String())
		}
		counter(d.overrun, l.Overrun.Seconds(), kind, name)
		gauge(d.held, float64(l.Held), kind, name)
		gauge(d.waiting, float64(l.Waiting), kind, name)
		gauge(d.oldestHold, l.OldestHold.Seconds(), kind, name)
		gauge(d.oldestWait, l.OldestWait.Seconds(), kind, name)
		if kind == "election" && name != "" {
			gauge(d.leader, truth(l.Held > 0), name)
			gauge(d.master, truth(l.Held > 0), name)
			counter(d.terms, float64(l.Granted()), name)
		}
	}
	for i := range r.Jobs {
		j := &r.Jobs[i]
		name := strings.ToValidUTF8(j.Name, "?")
		for how := meter.Succeeded; how <= meter.ClaimLost; how++ {
			counter(d.cronRuns, float64(j.Outcomes[how]), name, how.String())
		}
		histogram(d.cronRun, &j.Runs, name)
		histogram(d.cronDelay, &j.Delays, name)
		counter(d.cronMissed, float64(j.Missed), name)
		if !j.LastSuccess.IsZero() {
			gauge(d.cronSuccess, float64(j.LastSuccess.UnixMilli())/1000, name)
		}
		gauge(d.cronRunning, float64(j.Running), name)
	}
	for _, s := range r.Services {
		name := strings.ToValidUTF8(s.Name, "?")
		gauge(d.registered, float64(s.Stands), name)
		gauge(d.wanted, float64(s.Want), name)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
