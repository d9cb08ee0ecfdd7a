// Package compare says what has changed between two results of the benchmark, and whether that is more than is allowed.
//
// It compares summaries. Where both have several rounds it also says whether the change is larger than what the rounds of one run differ
// by; limits belong above that. For statistics over rounds there is benchstat, which reads report.GoBench.
package compare

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fenceline/fenceline/bench"
)

// measure is a figure of a subject in a cell.
type measure struct {
	of     func(m *bench.Measures) (value float64, there bool)
	larger bool // is better
	time   bool // in nanoseconds
}

func latency(of func(m *bench.Measures) bench.Latency, part func(bench.Latency) time.Duration) measure {
	return measure{time: true, of: func(m *bench.Measures) (float64, bool) {
		l := of(m)
		return float64(part(l)), l.Count > 0
	}}
}

var (
	acquire  = func(m *bench.Measures) bench.Latency { return m.Acquire }
	handOver = func(m *bench.Measures) bench.Latency { return m.HandOver }
	p50      = func(l bench.Latency) time.Duration { return l.P50 }
	p90      = func(l bench.Latency) time.Duration { return l.P90 }
	p99      = func(l bench.Latency) time.Duration { return l.P99 }
	longest  = func(l bench.Latency) time.Duration { return l.Max }
)

var measures = map[string]measure{
	"rate":          {of: func(m *bench.Measures) (float64, bool) { return m.Rate, true }, larger: true},
	"jain":          {of: func(m *bench.Measures) (float64, bool) { return m.Jain, m.Acquisitions > 0 }, larger: true},
	"p50":           latency(acquire, p50),
	"p90":           latency(acquire, p90),
	"p99":           latency(acquire, p99),
	"max":           latency(acquire, longest),
	"hand-over-p50": latency(handOver, p50),
	"hand-over-p99": latency(handOver, p99),
	"wait":          {time: true, of: func(m *bench.Measures) (float64, bool) { return float64(m.LongestWait), true }},
	"proposals":     {of: func(m *bench.Measures) (float64, bool) { return m.PerAcquisition.Proposals, m.Acquisitions > 0 }},
	"reads": {of: func(m *bench.Measures) (float64, bool) {
		return m.PerAcquisition.Linearizable + m.PerAcquisition.Serializable, m.Acquisitions > 0
	}},
	"events":  {of: func(m *bench.Measures) (float64, bool) { return m.PerAcquisition.Events, m.Acquisitions > 0 }},
	"bytes":   {of: func(m *bench.Measures) (float64, bool) { return m.PerAcquisition.Bytes, m.Acquisitions > 0 }},
	"cpu":     {time: true, of: func(m *bench.Measures) (float64, bool) { return m.PerAcquisition.CPU, m.PerAcquisition.CPU > 0 }},
	"starved": {of: func(m *bench.Measures) (float64, bool) { return float64(m.Starved), true }},
	"short": {larger: true, of: func(m *bench.Measures) (float64, bool) {
		if m.Succession == nil {
			return 0, false
		}
		return m.Succession.Share(), true
	}},
	Probes: {of: func(*bench.Measures) (float64, bool) { return 0, false }},
}

// Probes is the measure of what is no turn: the medians, and the values, of all probes.
const Probes = "probes"

// Names of the measures, sorted.
func Names() []string { return slices.Sorted(maps.Keys(measures)) }

// Limits are how much worse a measure may be: 0.1 is a tenth.
type Limits map[string]float64

// ParseLimits reads p99=10%,rate=5%.
func ParseLimits(text string) (Limits, error) {
	limits := Limits{}
	for part := range strings.SplitSeq(text, ",") {
		name, percent, ok := strings.Cut(strings.TrimSpace(part), "=")
		value, err := strconv.ParseFloat(strings.TrimSuffix(percent, "%"), 64)
		switch {
		case !ok || !strings.HasSuffix(percent, "%") || err != nil || !(value >= 0):
			return nil, bench.Invalid("limit is %q, want a measure and a percentage, as in p99=10%%", part)
		case measures[name].of == nil:
			return nil, bench.Invalid("limit is for %q, want one of %s", name, strings.Join(Names(), ", "))
		}
		if _, again := limits[name]; again {
			return nil, bench.Invalid("limit of %s is there twice", name)
		}
		if measures[name].larger && value >= 100 {
			return nil, bench.Invalid("limit of %s is %s, want less than 100%%: it cannot fall by more", name, percent)
		}
		limits[name] = value / 100
	}
	return limits, nil
}

// Change is a measure of one subject in one cell, in both results.
type Change struct {
	Cell    string  `json:"cell"`
	Subject string  `json:"subject"`
	Measure string  `json:"measure"`
	Old     float64 `json:"old"` // times in nanoseconds
	New     float64 `json:"new"`
	Worse   float64 `json:"worse"` // by which share of the old; negative: better
	TooFar  bool    `json:"regression"`
	// Noise is by which share of its median the measure differs between the rounds of either run, the larger of the two; zero if there
	// are not two rounds in each.
	Noise float64 `json:"noise,omitempty"`

	probeTime bool // of probes, those that are times
}

// Time says that the measure is one.
func (c Change) Time() bool { return measures[c.Measure].time || c.probeTime }

// Within says that the change is no larger than what the rounds of one run differ by.
func (c Change) Within() bool { return c.Noise > 0 && c.Worse <= c.Noise && c.Worse >= -c.Noise }

// Comparison of two results.
type Comparison struct {
	Changes []Change `json:"changes"`
	// Missing and Added are in one of the two only: "2 fenceline".
	Missing []string `json:"missing"`
	Added   []string `json:"added"`
	// Unlike is what the two runs differ in besides what was measured: "members: 1, then 3".
	Unlike []string `json:"unlike"`
	// Unchecked are limits of which neither has anything to compare.
	Unchecked []string `json:"unchecked"`
}

// Regressions is how many changes go too far.
func (c *Comparison) Regressions() (n int) {
	for _, change := range c.Changes {
		if change.TooFar {
			n++
		}
	}
	return n
}

// Results compares the measures that are named, and those that have a limit.
func Results(before, after *bench.Result, names []string, limits Limits) *Comparison {
	names = slices.Clone(names)
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	c := &Comparison{Changes: []Change{}, Missing: []string{}, Added: []string{}, Unlike: unlike(before, after), Unchecked: []string{}}
	olds, news := subjects(before), subjects(after)
	known := map[string]*bench.SubjectResult{}
	for _, n := range news {
		known[n.key] = n.result
	}
	for _, o := range olds {
		n := known[o.key]
		if n == nil {
			c.Missing = append(c.Missing, o.cell+" "+o.subject)
			continue
		}
		delete(known, o.key)
		for _, name := range names {
			c.add(o, name, n, limits)
		}
	}
	for _, n := range news {
		if known[n.key] != nil {
			c.Added = append(c.Added, n.cell+" "+n.subject)
		}
	}
	if slices.Contains(names, Probes) {
		c.probes(before.Probes, after.Probes, limits)
	}
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		if !slices.ContainsFunc(c.Changes, func(change Change) bool { return change.Measure == name }) {
			c.Unchecked = append(c.Unchecked, name)
		}
	}
	return c
}

// unlike is what makes two runs hard to compare.
func unlike(before, after *bench.Result) []string {
	found := []string{}
	for _, r := range []struct {
		result *bench.Result
		which  string
	}{{before, "old"}, {after, "new"}} {
		if r.result.Interrupted {
			found = append(found, "the "+r.which+" run was interrupted")
		}
	}
	differ := func(what string, was, is any) {
		if a, b := fmt.Sprint(was), fmt.Sprint(is); a != b {
			found = append(found, fmt.Sprintf("%s: %s, then %s", what, cmp.Or(a, "none"), cmp.Or(b, "none")))
		}
	}
	a, b := before.Environment, after.Environment
	differ("members", a.Members, b.Members)
	differ("conditions", strings.Join(before.Settings.Conditions, ", "), strings.Join(after.Settings.Conditions, ", "))
	differ("duration", before.Settings.Duration, after.Settings.Duration)
	differ("rounds", before.Settings.Rounds, after.Settings.Rounds)
	differ("TTL", before.Settings.TTL, after.Settings.TTL)
	differ("CPUs", a.CPUs, b.CPUs)
	differ("CPU", a.CPU, b.CPU)
	differ("etcd", a.Etcd, b.Etcd)
	return found
}

// probes compares the rows of both that are called the same.
func (c *Comparison) probes(before, after []bench.Row, limits Limits) {
	name := func(r bench.Row) string { return strings.TrimSpace(r.Measure + " " + r.Setting) }
	same := func(a, b bench.Row) bool {
		return a.Measure == b.Measure && a.Setting == b.Setting && a.Subject == b.Subject && a.IsTime() == b.IsTime() && a.Unit == b.Unit
	}
	figure := func(r bench.Row) float64 {
		if r.IsTime() {
			return float64(r.Median)
		}
		return r.Value
	}
	for _, was := range before {
		i := slices.IndexFunc(after, func(r bench.Row) bool { return same(was, r) })
		if i < 0 {
			c.Missing = append(c.Missing, name(was)+" "+was.Subject)
			continue
		}
		c.change(Change{Cell: name(was), Subject: was.Subject, Measure: Probes, Old: figure(was), New: figure(after[i]), probeTime: was.IsTime()}, false, limits)
	}
	for _, is := range after {
		if !slices.ContainsFunc(before, func(r bench.Row) bool { return same(is, r) }) {
			c.Added = append(c.Added, name(is)+" "+is.Subject)
		}
	}
}

func (c *Comparison) add(o one, name string, after *bench.SubjectResult, limits Limits) {
	m := measures[name]
	was, there := m.of(&o.result.Measures)
	is, still := m.of(&after.Measures)
	if !there || !still {
		return
	}
	c.change(Change{Cell: o.cell, Subject: o.subject, Measure: name, Old: was, New: is, Noise: noise(m, o.result, after)}, m.larger, limits)
}

// noise is half of what the rounds of one run differ by, as a share of their middle: of that run in which it is larger.
func noise(m measure, runs ...*bench.SubjectResult) (most float64) {
	for _, r := range runs {
		var values []float64
		for i := range r.Rounds {
			if v, there := m.of(&r.Rounds[i]); there {
				values = append(values, v)
			}
		}
		if len(values) < 2 {
			return 0
		}
		low, high := slices.Min(values), slices.Max(values)
		if low+high > 0 {
			most = max(most, (high-low)/(high+low))
		}
	}
	return most
}

// change adds one, with its verdict.
func (c *Comparison) change(change Change, larger bool, limits Limits) {
	was, is := change.Old, change.New
	switch {
	case was == is:
	case was == 0 && !larger: // from nothing: no share of it would say how much
		change.Worse = 1
	case was != 0:
		change.Worse = (is - was) / was
		if larger {
			change.Worse = -change.Worse
		}
	}
	limit, limited := limits[change.Measure]
	change.TooFar = limited && change.Worse > limit
	c.Changes = append(c.Changes, change)
}

// one is a subject in a cell.
type one struct {
	key, cell, subject string
	result             *bench.SubjectResult
}

func subjects(r *bench.Result) (all []one) {
	for i := range r.Cells {
		cell := &r.Cells[i]
		setting := ""
		if cell.Setting != nil {
			text, err := json.Marshal(cell.Setting)
			if err == nil && string(text) != "{}" {
				setting = string(text)
			}
		}
		name := cell.Cell.String()
		if cell.Workload != "" && cell.Workload != (bench.Mutex{}).About().Workload {
			name = strings.Join(strings.Fields(cell.Workload+" "+setting+" "+name), " ")
		}
		for j := range cell.Subjects {
			s := &cell.Subjects[j]
			all = append(all, one{fmt.Sprintf("%s|%s|%s", name, setting, s.Subject), name, s.Subject, s})
		}
	}
	return all
}
