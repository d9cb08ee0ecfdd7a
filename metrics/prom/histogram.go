package prom

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/fenceline/fenceline/internal/meter"
)

// histogram has classic and native buckets, of the same counts.
type histogram struct {
	desc   *prometheus.Desc
	of     *meter.Histogram
	labels []*dto.LabelPair
}

func newHistogram(d *prometheus.Desc, h *meter.Histogram, labels []string) prometheus.Metric {
	return &histogram{d, h, prometheus.MakeLabelPairs(d, labels)}
}

// Desc is of prometheus.Metric.
func (h *histogram) Desc() *prometheus.Desc { return h.desc }

// zero is up to where durations count as none.
var zero = math.Exp2(-20)

// Write is of prometheus.Metric.
func (h *histogram) Write(to *dto.Metric) error {
	to.Label = h.labels
	out := &dto.Histogram{SampleCount: &h.of.Count, SampleSum: ptr(h.of.Sum.Seconds()), Schema: ptr(int32(meter.Scale)), ZeroThreshold: &zero, ZeroCount: ptr(uint64(0))}
	for i, n := range h.of.UpTo() {
		out.Bucket = append(out.Bucket, &dto.Bucket{CumulativeCount: ptr(n), UpperBound: ptr(meter.Bounds[i].Seconds())})
	}
	next, before := int32(0), int64(0)
	h.of.Exponential(func(i int, n uint64) {
		at := int32(i)
		if math.Exp2(float64(i)/8) <= zero {
			*out.ZeroCount += n
			return
		}
		if spans := out.PositiveSpan; len(spans) == 0 || next != at {
			out.PositiveSpan = append(spans, &dto.BucketSpan{Offset: ptr(at - next), Length: ptr(uint32(0))})
		}
		*out.PositiveSpan[len(out.PositiveSpan)-1].Length++
		out.PositiveDelta = append(out.PositiveDelta, int64(n)-before)
		next, before = at+1, int64(n)
	})
	if len(out.PositiveSpan) == 0 && *out.ZeroCount == 0 { // it says that there are native buckets
		out.PositiveSpan = []*dto.BucketSpan{{Offset: ptr(int32(0)), Length: ptr(uint32(0))}}
	}
	to.Histogram = out
	return nil
}

func ptr[T any](v T) *T { return &v }
