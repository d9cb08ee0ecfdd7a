package bench

import (
	"cmp"
	"time"

	"github.com/fenceline/fenceline/bench/cost"
)

// Schema names the JSON form of a Result. It changes when a field changes its name or meaning; fields may be added.
const Schema = "fenceline.bench/v1"

// Result is a run: what it was and what came out. Durations are nanoseconds in JSON, revisions are numbers.
type Result struct {
	Schema      string       `json:"schema"`
	Started     time.Time    `json:"started"`
	Finished    time.Time    `json:"finished"`
	Interrupted bool         `json:"interrupted"` // ended before its time: cells may be missing or short of rounds
	Environment Environment  `json:"environment"`
	Settings    Settings     `json:"config"`
	Cells       []CellResult `json:"cells"`
	Probes      []Row        `json:"probes,omitempty"` // what was measured besides turns
}

// Settings is the part of a Config that a reader of the report needs.
type Settings struct {
	Subjects []string      `json:"subjects"`
	Rounds   int           `json:"rounds"`
	Duration time.Duration `json:"duration_ns"`
	WarmUp   time.Duration `json:"warm_up_ns"`
	TTL      time.Duration `json:"ttl_ns"`
	Seed     uint64        `json:"seed,omitempty"`

	Conditions []string `json:"conditions,omitempty"` // under which it was measured
}

// CellResult is one cell with all its subjects, in the order of the Config.
type CellResult struct {
	Cell
	Workload string          `json:"workload,omitempty"`
	Setting  any             `json:"setting,omitempty"` // the workload's own: its Load in JSON
	Subjects []SubjectResult `json:"subjects"`
}

// SubjectResult is what one subject did in one cell: over all rounds, and in each.
type SubjectResult struct {
	Subject string `json:"subject"`
	Measures
	Slowest float64    `json:"acquisitions_per_second_min"` // of the rounds
	Fastest float64    `json:"acquisitions_per_second_max"`
	Ratio   float64    `json:"ratio,omitempty"` // of acquisitions per second, to the last subject's; 0: nothing to compare
	Rounds  []Measures `json:"rounds"`
}

// Measures is what was measured. Over several rounds rate and Jain's index are the median of the rounds, the
// longest wait is the longest, and everything else is taken together.
type Measures struct {
	Elapsed        time.Duration  `json:"elapsed_ns"`
	Acquisitions   int64          `json:"acquisitions"`
	Rate           float64        `json:"acquisitions_per_second"`
	Acquire        Latency        `json:"acquire"`
	HandOver       Latency        `json:"hand_over"`
	Lag            *Latency       `json:"schedule_lag,omitempty"` // with Cell.Rate: how late turns began, which Acquire includes
	Jain           float64        `json:"jain"`
	Succession     *Succession    `json:"succession,omitempty"` // with several contenders
	LongestWait    time.Duration  `json:"longest_wait_ns"`
	Starved        int            `json:"starved"`         // contenders that got nothing; over several rounds, in the worst one
	Modes          []ModeMeasures `json:"modes,omitempty"` // of workloads that have any, in the order of About.Modes
	Cost           cost.Count     `json:"cost"`
	PerAcquisition PerAcquisition `json:"per_acquisition"`
	Client         Usage          `json:"client"`
	Counted        int64          `json:"cost_acquisitions"` // holds that ended between the readings of Cost and Client
	Server         *Server        `json:"server,omitempty"`  // nil if etcd serves no metrics, or not to us
	Safety         Safety         `json:"safety"`
	Errors         int64          `json:"errors"` // calls of Lock, Unlock and Close that failed
	FirstError     string         `json:"first_error,omitempty"`

	// Shares is how many acquisitions each contender had. What follows is told of all rounds together only: how long an
	// acquire took, by percentage, and who was inside when, in the beginning of the first round.
	Shares   []int64    `json:"shares,omitempty"`
	Curve    []Quantile `json:"acquire_curve,omitempty"`
	Timeline []Hold     `json:"timeline,omitempty"`

	acquire, handOver, lag *latencies
	followed               followed
	timeline               []Hold
}

// ModeMeasures is the part of Measures that one mode has: what readers got, and what writers did.
type ModeMeasures struct {
	Mode         string        `json:"mode"`
	Acquisitions int64         `json:"acquisitions"`
	Rate         float64       `json:"acquisitions_per_second"`
	Acquire      Latency       `json:"acquire"`
	LongestWait  time.Duration `json:"longest_wait_ns"`

	acquire *latencies
}

func (m *ModeMeasures) add(b book) {
	m.Acquisitions += b.counted
	m.acquire.merge(b.acquire)
	m.LongestWait = max(m.LongestWait, time.Duration(b.longest))
}

func (m *ModeMeasures) finish(elapsed time.Duration) {
	if elapsed > 0 {
		m.Rate = float64(m.Acquisitions) / elapsed.Seconds()
	}
	m.Acquire = m.acquire.summary()
}

// summarizeModes takes the modes of all rounds together.
func summarizeModes(rounds []Measures) []ModeMeasures {
	var sums []ModeMeasures
	for i, first := range rounds[0].Modes {
		sum := ModeMeasures{Mode: first.Mode, acquire: newLatencies()}
		var rates []float64
		for _, r := range rounds {
			m := r.Modes[i]
			sum.Acquisitions += m.Acquisitions
			sum.LongestWait = max(sum.LongestWait, m.LongestWait)
			sum.acquire.merge(m.acquire)
			rates = append(rates, m.Rate)
		}
		sum.Rate, sum.Acquire = median(rates), sum.acquire.summary()
		sums = append(sums, sum)
	}
	return sums
}

// PerAcquisition is Measures.Cost and Measures.Client divided by Measures.Counted.
type PerAcquisition struct {
	Proposals    float64 `json:"proposals"`
	Linearizable float64 `json:"linearizable_reads"`
	Serializable float64 `json:"serializable_reads"`
	Events       float64 `json:"watch_events"`
	Bytes        float64 `json:"bytes"` // sent and received
	CPU          float64 `json:"client_cpu_ns"`
	Allocated    float64 `json:"client_allocated_bytes"`
}

func perAcquisition(m *Measures) PerAcquisition {
	if m.Counted == 0 {
		return PerAcquisition{}
	}
	per := func(count int64) float64 { return float64(count) / float64(m.Counted) }
	c := m.Cost
	return PerAcquisition{per(c.Proposals), per(c.Linearizable), per(c.Serializable), per(c.Events), per(c.Sent + c.Received),
		per(int64(m.Client.CPU)), per(m.Client.Allocated)}
}

// summarize takes rounds of one subject in one cell together.
func summarize(rounds []Measures) Measures {
	sum := Measures{acquire: newLatencies(), handOver: newLatencies(), lag: newLatencies(), followed: newFollowed()}
	var rates, jains []float64
	for _, r := range rounds {
		sum.Elapsed += r.Elapsed
		sum.Acquisitions += r.Acquisitions
		sum.LongestWait = max(sum.LongestWait, r.LongestWait)
		sum.Cost = sum.Cost.Add(r.Cost)
		sum.Counted += r.Counted
		sum.Safety = sum.Safety.add(r.Safety)
		sum.Errors += r.Errors
		sum.FirstError = cmp.Or(sum.FirstError, r.FirstError)
		sum.acquire.merge(r.acquire)
		sum.handOver.merge(r.handOver)
		sum.followed.merge(r.followed)
		sum.Starved = max(sum.Starved, r.Starved)
		sum.Client = sum.Client.add(r.Client)
		sum.Server = sum.Server.add(r.Server)
		if r.Lag != nil {
			sum.lag.merge(r.lag)
			lag := sum.lag.summary()
			sum.Lag = &lag
		}
		rates, jains = append(rates, r.Rate), append(jains, r.Jain)
		for i, n := range r.Shares {
			if len(sum.Shares) < len(r.Shares) {
				sum.Shares = make([]int64, len(r.Shares))
			}
			sum.Shares[i] += n
		}
	}
	sum.Rate, sum.Jain = median(rates), median(jains)
	sum.Acquire, sum.HandOver = sum.acquire.summary(), sum.handOver.summary()
	sum.Succession = sum.followed.summary(len(sum.Shares))
	sum.PerAcquisition = perAcquisition(&sum)
	sum.Modes = summarizeModes(rounds)
	sum.Curve, sum.Timeline = sum.acquire.curve(), rounds[0].timeline
	return sum
}

func subjectResult(name string, rounds []Measures) SubjectResult {
	s := SubjectResult{Subject: name, Measures: summarize(rounds), Rounds: rounds, Slowest: rounds[0].Rate, Fastest: rounds[0].Rate}
	for _, r := range rounds {
		s.Slowest, s.Fastest = min(s.Slowest, r.Rate), max(s.Fastest, r.Rate)
	}
	return s
}

// compare fills in the ratios, when the last subject has something to compare to.
func (c *CellResult) compare() {
	last := len(c.Subjects) - 1
	if last < 1 || c.Subjects[last].Rate == 0 {
		return
	}
	for i := range c.Subjects {
		c.Subjects[i].Ratio = c.Subjects[i].Rate / c.Subjects[last].Rate
	}
}
