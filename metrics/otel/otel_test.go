package otel_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/fenceline/fenceline/cron"
	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/fencetest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/metrics/otel"
	"github.com/fenceline/fenceline/session"
)

func collect(t *testing.T, s *session.Session, labels ...attribute.KeyValue) map[string]metricdata.Metrics {
	t.Helper()
	p, err := otel.NewProducer(s, labels...)
	if err != nil {
		t.Fatal(err)
	}
	reader := metric.NewManualReader(metric.WithProducer(p))
	metric.NewMeterProvider(metric.WithReader(reader))
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	found := map[string]metricdata.Metrics{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if _, twice := found[m.Name]; twice {
				t.Errorf("%s is there twice", m.Name)
			}
			if m.Unit == "" || m.Description == "" {
				t.Errorf("%s has unit %q, description %q", m.Name, m.Unit, m.Description)
			}
			found[m.Name] = m
		}
	}
	return found
}

func has(set attribute.Set, key, value string) bool {
	v, ok := set.Value(attribute.Key(key))
	return ok && v.AsString() == value
}

func TestReaderCollectsWhatTheSessionCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		s := etcd.Session(t, session.WithMetrics(nil))
		l, err := lock.New(s, "x").Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := election.New(s, "x").Campaign(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := lock.New(s, "y").Acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Second)
		found := collect(t, s, attribute.String("app", "test"))
		held := found["fenceline.held"].Data.(metricdata.Gauge[float64])
		for _, p := range held.DataPoints {
			if p.Value != 1 || !has(p.Attributes, "app", "test") {
				t.Errorf("held: %v", p)
			}
		}
		for _, p := range found["fenceline.oldest.hold"].Data.(metricdata.Gauge[float64]).DataPoints {
			if has(p.Attributes, "fenceline.kind", "lock") && (p.Value < 3.9 || p.Value > 4.1) {
				t.Errorf("oldest hold: %v s", p.Value)
			}
		}
		released := 0
		for _, p := range found["fenceline.hold"].Data.(metricdata.ExponentialHistogram[float64]).DataPoints {
			if !has(p.Attributes, "fenceline.kind", "lock") || !has(p.Attributes, "fenceline.end", "released") {
				continue
			}
			released++
			sum := p.ZeroCount
			for i, n := range p.PositiveBucket.Counts {
				sum += n
				// 3 s lie between 2^(12/8) and 2^(13/8).
				if at := int(p.PositiveBucket.Offset) + i; n > 0 && at != 12 {
					t.Errorf("3 s are in bucket %d", at)
				}
			}
			if p.Count != 1 || sum != 1 || p.Sum < 2.9 || p.Sum > 3.1 || p.Scale != 3 {
				t.Errorf("%+v", p)
			}
		}
		if released != 1 {
			t.Errorf("%d points of released locks", released)
		}
		for _, name := range []string{"fenceline.acquire.wait", "fenceline.session.state", "fenceline.session.renew", "fenceline.leader", "fenceline.leader.terms", "fenceline.etcd.requests"} {
			if _, ok := found[name]; !ok {
				t.Errorf("no %s among %v", name, slices.Sorted(maps.Keys(found)))
			}
		}
		if _, err := otel.NewProducer(etcd.Session(t)); !errors.Is(err, otel.ErrNoMetrics) {
			t.Errorf("%v", err)
		}
	})
}

func spansOf(t *testing.T, f func(t *testing.T, etcd *fencetest.Etcd, s *session.Session, tracer trace.Tracer)) map[string][]tracetest.SpanStub {
	t.Helper()
	exporter := tracetest.NewInMemoryExporter()
	found := map[string][]tracetest.SpanStub{}
	synctest.Test(t, func(t *testing.T) {
		provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
		etcd := fencetest.Start(t)
		s := etcd.Session(t, session.WithTrace(otel.NewTrace(provider)))
		f(t, etcd, s, provider.Tracer("test"))
		synctest.Wait()
		for _, span := range exporter.GetSpans() {
			found[span.Name] = append(found[span.Name], span)
		}
	})
	return found
}

func TestHoldIsASpanOfItsOwnWithALinkToTheWaitUnderTheCallersSpan(t *testing.T) {
	found := spansOf(t, func(t *testing.T, _ *fencetest.Etcd, s *session.Session, tracer trace.Tracer) {
		ctx := t.Context()
		first, err := lock.New(s, "x").Acquire(ctx)
		if err != nil {
			t.Error(err)
			return
		}
		time.AfterFunc(2*time.Second, func() { _ = first.Release(ctx) })
		ctx, span := tracer.Start(ctx, "request")
		defer span.End()
		second, err := lock.New(s, "x").Acquire(ctx)
		if err != nil {
			t.Error(err)
			return
		}
		time.Sleep(5 * time.Second)
		if trace.SpanFromContext(second.Context()) != span {
			t.Error("what runs under the hold has another span than the caller's")
		}
		if err := second.Release(ctx); err != nil {
			t.Error(err)
		}
	})
	request, waits, holds := found["request"], found["acquire lock"], found["hold lock"]
	if len(request) != 1 || len(waits) != 2 || len(holds) != 2 {
		t.Fatalf("%d requests, %d waits, %d holds", len(request), len(waits), len(holds))
	}
	wait, hold := waits[1], holds[1]
	if wait.Parent.SpanID() != request[0].SpanContext.SpanID() {
		t.Error("the wait is not under the caller's span")
	}
	if took := wait.EndTime.Sub(wait.StartTime); took < 1900*time.Millisecond || took > 2100*time.Millisecond {
		t.Errorf("it waited for %v", took)
	}
	if hold.Parent.IsValid() || len(hold.Links) != 1 || hold.Links[0].SpanContext.SpanID() != wait.SpanContext.SpanID() {
		t.Errorf("the hold has parent %v, links %v", hold.Parent, hold.Links)
	}
	if took := hold.EndTime.Sub(hold.StartTime); took < 4900*time.Millisecond || took > 5100*time.Millisecond {
		t.Errorf("it held for %v", took)
	}
	if set := attribute.NewSet(wait.Attributes...); !has(set, "fenceline.name", "x") || !has(set, "fenceline.path", "local") || !has(set, "fenceline.outcome", "granted") {
		t.Errorf("attributes %v", wait.Attributes)
	}
}

func TestWaitWithoutAHoldAndALossAreErrors(t *testing.T) {
	found := spansOf(t, func(t *testing.T, etcd *fencetest.Etcd, s *session.Session, _ trace.Tracer) {
		ctx := t.Context()
		l, err := lock.New(s, "x").Acquire(ctx)
		if err != nil {
			t.Error(err)
			return
		}
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if _, err := lock.New(s, "x").Acquire(short); err == nil {
			t.Error("two hold")
		}
		if _, err := lock.New(s, "x").TryAcquire(ctx); !errors.Is(err, lock.ErrHeld) {
			t.Error(err)
		}
		if _, err := etcd.Client(t).Revoke(ctx, s.Lease()); err != nil {
			t.Error(err)
		}
		<-l.Context().Done()
	})
	waits, holds := found["acquire lock"], found["hold lock"]
	if len(waits) != 3 || len(holds) != 1 {
		t.Fatalf("%d waits, %d holds", len(waits), len(holds))
	}
	if waits[1].Status.Code != codes.Error || !has(attribute.NewSet(waits[1].Attributes...), "error.type", "timeout") {
		t.Errorf("the wait that ended: %v, %v", waits[1].Status, waits[1].Attributes)
	}
	if waits[2].Status.Code == codes.Error || !has(attribute.NewSet(waits[2].Attributes...), "fenceline.outcome", "held") {
		t.Errorf("the try: %v, %v", waits[2].Status, waits[2].Attributes)
	}
	if holds[0].Status.Code != codes.Error {
		t.Errorf("the hold that was lost: %v", holds[0].Status)
	}
}

func TestRunOfAJobIsASpanUnderWhichItWorks(t *testing.T) {
	found := spansOf(t, func(t *testing.T, _ *fencetest.Etcd, s *session.Session, tracer trace.Tracer) {
		ctx := t.Context()
		c := cron.New(s)
		err := c.Add("nightly", "@every 10s", func(ctx context.Context, _ cron.Tick) error {
			_, span := tracer.Start(ctx, "work")
			defer span.End()
			time.Sleep(time.Second)
			return errors.New("no disk")
		})
		if err != nil {
			t.Error(err)
			return
		}
		ctx, cancel := context.WithTimeout(ctx, 12*time.Second)
		defer cancel()
		_ = c.Run(ctx)
	})
	if len(found["run cron"]) == 0 || len(found["work"]) == 0 {
		t.Fatalf("%v", slices.Sorted(maps.Keys(found)))
	}
	run := found["run cron"][0]
	if found["work"][0].Parent.SpanID() != run.SpanContext.SpanID() {
		t.Error("the work is not under the run")
	}
	if set := attribute.NewSet(run.Attributes...); run.Status.Code != codes.Error || run.Status.Description != "no disk" || !has(set, "fenceline.outcome", "error") || !has(set, "fenceline.name", "nightly") {
		t.Errorf("%v, %v", run.Status, run.Attributes)
	}
}
