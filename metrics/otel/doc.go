// Package otel exports what a Session does to OpenTelemetry: metrics by a producer for a reader of its SDK, and spans by hooks.
//
//	s, err := session.Open(ctx, client, session.WithMetrics(nil), session.WithTrace(otel.NewTrace(otelapi.GetTracerProvider())))
//	…
//	p, err := otel.NewProducer(s)
//	…
//	reader := sdkmetric.NewPeriodicReader(exporter, sdkmetric.WithProducer(p))
//
// # Metrics
//
// They are those of package metrics/prom, in OpenTelemetry's spelling: fenceline.acquire.wait, in seconds, with the attributes fenceline.kind and
// fenceline.outcome. The Session counts by itself, and is read when the reader collects: an acquisition calls nothing of the SDK's. That is why
// this is a producer, and not instruments of a meter, which has no histogram that is read. Histograms are exponential, of scale 3.
//
// # Spans
//
// "acquire lock" is a call that waits, under the caller's span. "hold lock" is the hold that came of it: with a trace of its own, since it may
// last for days, and a link to the wait. "run cron" is a run of a job, under which fn works. Names of locks are attributes, not span names.
package otel
