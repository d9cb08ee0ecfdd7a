package otel

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/fenceline/fenceline/internal/line"
	"github.com/fenceline/fenceline/internal/meter"
	"github.com/fenceline/fenceline/semaphore"
	"github.com/fenceline/fenceline/session"
)

const scope = "github.com/fenceline/fenceline"

// call is what the hooks of one call hand to each other in its ctx.
type call struct {
	wait trace.Span

	mu    sync.Mutex
	hold  trace.Span // nil: it does not hold
	began time.Time
}

type callKey struct{}

// NewTrace returns hooks for session.WithTrace that make spans of provider's.
func NewTrace(provider trace.TracerProvider) *session.Trace {
	tracer := provider.Tracer(scope)
	return &session.Trace{
		WaitStart: func(ctx context.Context, w session.Wait) context.Context {
			_, span := tracer.Start(ctx, "acquire "+w.Kind, trace.WithAttributes(attributesOf(w)...))
			return context.WithValue(ctx, callKey{}, &call{wait: span})
		},
		WaitEnd: func(ctx context.Context, w session.Wait, e session.WaitEnd) {
			c, ok := ctx.Value(callKey{}).(*call)
			if !ok {
				return
			}
			defer c.wait.End()
			how := outcomeOf(e.Err)
			c.wait.SetAttributes(attribute.String("fenceline.outcome", how.String()))
			if e.Err != nil {
				c.wait.SetAttributes(attribute.String("error.type", how.String()))
				if how != meter.Held { // that is an answer
					c.wait.SetStatus(codes.Error, e.Err.Error())
				}
				return
			}
			c.wait.SetAttributes(attribute.String("fenceline.path", e.Path), attribute.Int("fenceline.ahead", e.Ahead), attribute.Float64("fenceline.idle", e.Idle.Seconds()))
			c.mu.Lock()
			defer c.mu.Unlock()
			c.began = time.Now()
			_, c.hold = tracer.Start(ctx, "hold "+w.Kind, trace.WithNewRoot(), trace.WithTimestamp(c.began),
				trace.WithLinks(trace.Link{SpanContext: c.wait.SpanContext()}), trace.WithAttributes(attributesOf(w)...))
		},
		HoldEnd: func(ctx context.Context, _ session.Wait, e session.HoldEnd) {
			c, ok := ctx.Value(callKey{}).(*call)
			if !ok {
				return
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.hold == nil {
				return
			}
			if e.Err != nil {
				c.hold.SetStatus(codes.Error, e.Err.Error())
			}
			c.hold.End(trace.WithTimestamp(c.began.Add(e.Held)))
		},
		RunStart: func(ctx context.Context, r session.CronRun) context.Context {
			ctx, _ = tracer.Start(ctx, "run cron", trace.WithAttributes(attribute.String("fenceline.kind", "cron"), attribute.String("fenceline.name", r.Job),
				attribute.String("fenceline.tick", r.Scheduled.Format(time.RFC3339Nano)), attribute.Int("fenceline.attempt", r.Attempt), attribute.Float64("fenceline.late", r.Late.Seconds())))
			return ctx
		},
		RunEnd: func(ctx context.Context, _ session.CronRun, e session.CronRunEnd) {
			span := trace.SpanFromContext(ctx)
			span.SetAttributes(attribute.String("fenceline.outcome", e.Outcome))
			if e.Err != nil {
				span.SetStatus(codes.Error, e.Err.Error())
			}
			span.End()
		},
	}
}

func attributesOf(w session.Wait) []attribute.KeyValue {
	all := []attribute.KeyValue{attribute.String("fenceline.kind", w.Kind), attribute.String("fenceline.name", w.Name)}
	if w.Mode != "" {
		all = append(all, attribute.String("fenceline.mode", w.Mode))
	}
	if w.Kind == "semaphore" {
		all = append(all, attribute.Int64("fenceline.units", w.Units))
	}
	return all
}

func outcomeOf(err error) meter.Outcome {
	switch {
	case errors.Is(err, semaphore.ErrExhausted):
		return meter.Held
	case errors.Is(err, semaphore.ErrTooMany), errors.Is(err, semaphore.ErrLimit):
		return meter.Limit
	}
	return line.OutcomeOf(err)
}
