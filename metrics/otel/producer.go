package otel

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/meter"
	"github.com/fenceline/fenceline/session"
)

// ErrNoMetrics: the Session counts nothing.
var ErrNoMetrics = errors.New("otel: the Session was opened without session.WithMetrics")

type producer struct {
	session *session.Session
	labels  []attribute.KeyValue
	since   time.Time
}

// NewProducer is for metric.WithProducer. labels are attributes of all metrics, by which several Sessions of a process can be told apart. It
// returns ErrNoMetrics for a Session that counts nothing. Sums and histograms are cumulative from the moment of this call on the clock, and
// from the Session's beginning in what they count.
func NewProducer(s *session.Session, labels ...attribute.KeyValue) (metric.Producer, error) {
	if keeper.Of(s).Meter == nil {
		return nil, ErrNoMetrics
	}
	return &producer{s, labels, time.Now()}, nil
}

// Produce is of metric.Producer.
func (p *producer) Produce(ctx context.Context) ([]metricdata.ScopeMetrics, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	b := &batch{producer: p, now: time.Now(), at: map[string]int{}}
	r := keeper.Of(p.session).Read()
	b.session(r)
	for i := range r.Lines {
		b.line(&r.Lines[i])
	}
	for i := range r.Jobs {
		b.job(&r.Jobs[i])
	}
	for _, s := range r.Services {
		of := attribute.String("fenceline.service", s.Name)
		b.gauge("fenceline.registry.registered", "{instance}", "Instances of the service, of this process, that stand in etcd.", float64(s.Stands), of)
		b.gauge("fenceline.registry.wanted", "{instance}", "Instances of the service that this process wants to stand.", float64(s.Want), of)
	}
	return []metricdata.ScopeMetrics{{Scope: instrumentation.Scope{Name: scope}, Metrics: b.metrics}}, nil
}

func (b *batch) session(r *meter.Reading) {
	for state := session.Live; state <= session.Closed; state++ {
		v := 0.0
		if b.producer.session.State() == state {
			v = 1
		}
		b.gauge("fenceline.session.state", "1", "1 for the state that the Session is in.", v, attribute.String("fenceline.state", state.String()))
	}
	remaining := 0.0
	if deadline := b.producer.session.Deadline(); !deadline.IsZero() {
		remaining = max(time.Until(deadline).Seconds(), 0)
	}
	b.gauge("fenceline.session.remaining", "s", "For how long the lease is trusted if no renewal gets through.", remaining)
	b.gauge("fenceline.session.ttl", "s", "For how long etcd keeps the lease after a renewal; what was asked for while there is none.", keeper.Of(b.producer.session).LeaseTTL().Seconds())
	b.histogram("fenceline.session.renew", "Round trips of renewals.", &r.Renewals)
	b.sum("fenceline.session.renew.failures", "{renewal}", "Renewals that failed.", float64(r.RenewFailures))
	b.sum("fenceline.session.epochs", "{lease}", "Leases that the Session has had.", float64(r.Epochs))
	for req, n := range r.Requests {
		b.sum("fenceline.etcd.requests", "{request}", "Requests of the Session's, by how they ended.", float64(n), attribute.String("rpc.method", req.Op), attribute.String("rpc.response.status_code", req.Code.String()))
	}
}

func (b *batch) line(l *meter.Line) {
	of := []attribute.KeyValue{attribute.String("fenceline.kind", l.Kind)}
	if l.Name != "" {
		of = append(of, attribute.String("fenceline.name", l.Name))
	}
	with := func(more ...attribute.KeyValue) []attribute.KeyValue { return append(of[:len(of):len(of)], more...) }
	for w, h := range l.Waits {
		how := with(attribute.String("fenceline.outcome", w.Outcome.String()))
		if w.Outcome == meter.Granted {
			how = append(how, attribute.String("fenceline.path", w.Path.String()))
		} else {
			how = append(how, attribute.String("error.type", w.Outcome.String()))
		}
		b.histogram("fenceline.acquire.wait", "How long calls waited that wanted to hold, by how that ended.", h, how...)
	}
	for path, h := range l.HandOvers {
		b.histogram("fenceline.handover", "For how long nobody held, from when the process knew that nobody was ahead.", h, with(attribute.String("fenceline.path", path.String()))...)
	}
	b.histogram("fenceline.hold", "How long holds lasted, by how they ended.", &l.Released, with(attribute.String("fenceline.end", "released"))...)
	b.histogram("fenceline.hold", "How long holds lasted, by how they ended.", &l.Lost, with(attribute.String("fenceline.end", "lost"))...)
	for why, n := range l.LostBy {
		b.sum("fenceline.lost", "{hold}", "Holds that were lost, by why.", float64(n), with(attribute.String("fenceline.reason", why.String()))...)
	}
	b.sum("fenceline.overrun", "s", "For how long functions had gone on after their hold was lost, when that was noticed.", l.Overrun.Seconds(), of...)
	b.gauge("fenceline.held", "{unit}", "Holds of this process; of a semaphore, units.", float64(l.Held), of...)
	b.gauge("fenceline.waiting", "{unit}", "Calls of this process that wait; of a semaphore, units.", float64(l.Waiting), of...)
	b.gauge("fenceline.oldest.hold", "s", "Age of the oldest hold of this process.", l.OldestHold.Seconds(), of...)
	b.gauge("fenceline.oldest.wait", "s", "Age of the oldest call of this process that waits.", l.OldestWait.Seconds(), of...)
	if l.Kind == "election" && l.Name != "" {
		b.gauge("fenceline.leader", "1", "1 while this process leads.", float64(min(l.Held, 1)), of...)
		b.sum("fenceline.leader.terms", "{term}", "Terms that this process has won.", float64(l.Granted()), of...)
	}
}

func (b *batch) job(j *meter.JobReading) {
	of := attribute.String("fenceline.job", j.Name)
	for how, n := range j.Outcomes {
		b.sum("fenceline.cron.runs", "{run}", "Runs of the job here, by how they ended.", float64(n), of, attribute.String("fenceline.outcome", how.String()))
	}
	b.histogram("fenceline.cron.run", "How long runs of the job took.", &j.Runs, of)
	b.histogram("fenceline.cron.start.delay", "How late runs of the job began.", &j.Delays, of)
	b.sum("fenceline.cron.missed", "{tick}", "Ticks of the job that were passed over, as this process found out.", float64(j.Missed), of)
	b.gauge("fenceline.cron.running", "{run}", "Runs of the job that are under way here.", float64(j.Running), of)
	if !j.LastSuccess.IsZero() {
		b.gauge("fenceline.cron.last.success", "s", "When the job last succeeded here, in seconds since 1970.", float64(j.LastSuccess.UnixMilli())/1000, of)
	}
}

// batch gathers what one collection produces, the points of a metric under one name.
type batch struct {
	producer *producer
	now      time.Time
	metrics  []metricdata.Metrics
	at       map[string]int
}

// of is the metric of that name, made by empty if it is new.
func (b *batch) of(name, unit, help string, empty metricdata.Aggregation) *metricdata.Metrics {
	i, ok := b.at[name]
	if !ok {
		i = len(b.metrics)
		b.at[name] = i
		b.metrics = append(b.metrics, metricdata.Metrics{Name: name, Unit: unit, Description: help, Data: empty})
	}
	return &b.metrics[i]
}

func (b *batch) set(attributes []attribute.KeyValue) attribute.Set {
	return attribute.NewSet(append(attributes[:len(attributes):len(attributes)], b.producer.labels...)...)
}

func (b *batch) gauge(name, unit, help string, v float64, attributes ...attribute.KeyValue) {
	m := b.of(name, unit, help, metricdata.Gauge[float64]{})
	g := m.Data.(metricdata.Gauge[float64])
	g.DataPoints = append(g.DataPoints, metricdata.DataPoint[float64]{Attributes: b.set(attributes), Time: b.now, Value: v})
	m.Data = g
}

func (b *batch) sum(name, unit, help string, v float64, attributes ...attribute.KeyValue) {
	m := b.of(name, unit, help, metricdata.Sum[float64]{Temporality: metricdata.CumulativeTemporality, IsMonotonic: true})
	s := m.Data.(metricdata.Sum[float64])
	s.DataPoints = append(s.DataPoints, metricdata.DataPoint[float64]{Attributes: b.set(attributes), StartTime: b.producer.since, Time: b.now, Value: v})
	m.Data = s
}

func (b *batch) histogram(name, help string, h *meter.Histogram, attributes ...attribute.KeyValue) {
	m := b.of(name, "s", help, metricdata.ExponentialHistogram[float64]{Temporality: metricdata.CumulativeTemporality})
	p := metricdata.ExponentialHistogramDataPoint[float64]{Attributes: b.set(attributes), StartTime: b.producer.since, Time: b.now, Count: h.Count, Sum: h.Sum.Seconds(), Scale: meter.Scale}
	h.Exponential(func(i int, n uint64) {
		if i <= lowest {
			p.ZeroCount += n
			return
		}
		// OpenTelemetry's bucket i lies above 2^(i/8), where ours ends there.
		if len(p.PositiveBucket.Counts) == 0 {
			p.PositiveBucket.Offset = int32(i - 1)
		}
		at := i - 1 - int(p.PositiveBucket.Offset)
		for len(p.PositiveBucket.Counts) <= at {
			p.PositiveBucket.Counts = append(p.PositiveBucket.Counts, 0)
		}
		p.PositiveBucket.Counts[at] = n
	})
	p.ZeroThreshold = zero
	e := m.Data.(metricdata.ExponentialHistogram[float64])
	e.DataPoints = append(e.DataPoints, p)
	m.Data = e
}

// What is shorter than a microsecond counts as zero.
const (
	lowest = -20 << meter.Scale
	zero   = 1.0 / (1 << 20)
)
