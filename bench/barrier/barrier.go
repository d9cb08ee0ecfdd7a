// Package barrier measures how long a round of a barrier takes: from when all parties come until the last is through,
// and until the last has left again, beside the double barrier of etcd's recipes.
//
// Each party has a connection and a session of its own, in this process. Rounds are apart: the next one begins when
// everybody has left, for etcd's recipe cannot stand anything else under one key.
package barrier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/cost"
)

// Schema names the JSON form of a Result.
const Schema = "fenceline.bench.barrier/v1"

// Config says what to measure.
type Config struct {
	Etcd     clientv3.Config
	Prefix   string // all keys go below it, none stays; ends with a slash
	Subjects []string
	Parties  []int        // one measurement for each
	Rounds   int          // of each subject, for each number of parties
	Talk     func(string) // what it is doing, or nil
}

// Defaults is a run of about half a minute, without endpoints.
func Defaults() Config {
	return Config{
		Prefix:   "fenceline-bench-barrier/",
		Subjects: []string{"fenceline", "etcd"},
		Parties:  []int{2, 8, 32, 128},
		Rounds:   20,
	}
}

// Validate says which value breaks which rule; its errors are bench.ErrInvalid.
func (c *Config) Validate() error {
	switch {
	case len(c.Subjects) == 0:
		return bench.Invalid("no subject, want at least one")
	case len(c.Parties) == 0:
		return bench.Invalid("no number of parties, want at least one")
	case c.Rounds < 1:
		return bench.Invalid("rounds is %d, want at least 1", c.Rounds)
	}
	for _, n := range c.Parties {
		if n < 1 || n > maxParties {
			return bench.Invalid("parties is %d, want 1 to %d", n, maxParties)
		}
	}
	for i, name := range c.Subjects {
		if subjects[name] == nil {
			return bench.Invalid("subject is %q, want fenceline or etcd", name)
		}
		if slices.Contains(c.Subjects[:i], name) {
			return bench.Invalid("subject %q is there twice", name)
		}
	}
	return nil
}

// maxParties bounds the connections of one process.
const maxParties = 1000

// Result is one row for each number of parties and each subject.
type Result struct {
	Schema string `json:"schema"`
	Rows   []Row  `json:"rows"`
}

// Row is what one subject gave.
type Row struct {
	Parties int    `json:"parties"`
	Subject string `json:"subject"`
	Rounds  int    `json:"rounds"`
	Enter   Times  `json:"enter"` // until the last party is through
	Leave   Times  `json:"leave"` // until the last has left, from when all leave
	Both    Times  `json:"both"`
	// Cost is that of all parties in all rounds; what counts is the share of one party in one round.
	Cost cost.Count `json:"cost"`
}

// Share of a count that falls to one party in one round.
func (r Row) Share(count int64) float64 { return float64(count) / float64(r.Parties*r.Rounds) }

// Times are those of all rounds.
type Times struct {
	Median time.Duration   `json:"median_ns"`
	Max    time.Duration   `json:"max_ns"`
	All    []time.Duration `json:"all_ns"`
}

func (t *Times) add(d time.Duration) { t.All = append(t.All, d) }

func (t *Times) sum() {
	if len(t.All) == 0 {
		return
	}
	sorted := slices.Sorted(slices.Values(t.All))
	t.Median, t.Max = sorted[len(sorted)/2], sorted[len(sorted)-1]
}

// SafetyError says that parties were through before all had come.
type SafetyError struct {
	Subject string
	Parties int
	Early   int64
}

func (e *SafetyError) Error() string {
	return fmt.Sprintf("bench: %s DID NOT HOLD BACK: %d of %d parties were through before all had come", e.Subject, e.Early, e.Parties)
}

// Run measures all numbers of parties, one after the other, the subjects in alternation. When ctx ends it returns the
// rows it has, with ctx's cause.
func Run(ctx context.Context, cfg Config) (result *Result, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Talk == nil {
		cfg.Talk = func(string) {}
	}
	client, err := clientv3.New(cfg.Etcd)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	bounded, cancel := context.WithTimeout(ctx, reachTimeout)
	_, err = client.Get(bounded, cfg.Prefix, clientv3.WithCountOnly())
	cancel()
	if err != nil {
		return nil, fmt.Errorf("%w at %s: %w", bench.ErrUnreachable, strings.Join(cfg.Etcd.Endpoints, ", "), err)
	}
	defer func() { err = errors.Join(err, clean(ctx, client, cfg.Prefix)) }()

	result = &Result{Schema: Schema}
	for _, n := range cfg.Parties {
		rows, err := cfg.measure(ctx, client, n)
		if ctx.Err() != nil {
			return result, context.Cause(ctx)
		}
		if err != nil {
			return result, err
		}
		result.Rows = append(result.Rows, rows...)
	}
	return result, nil
}

// measure gives each subject two turns, in one order and in the other.
func (c Config) measure(ctx context.Context, control *clientv3.Client, n int) ([]Row, error) {
	rows := make([]Row, len(c.Subjects))
	for i, name := range c.Subjects {
		rows[i] = Row{Parties: n, Subject: name}
	}
	order := make([]int, len(rows))
	for i := range order {
		order[i] = i
	}
	for turn, rounds := range []int{c.Rounds - c.Rounds/2, c.Rounds / 2} {
		for _, i := range order {
			if rounds == 0 {
				continue
			}
			c.Talk(fmt.Sprintf("%d parties: %d rounds of %s", n, rounds, rows[i].Subject))
			if err := c.turn(ctx, control, &rows[i], fmt.Sprintf("%s%d-%d/", c.Prefix, n, turn), rounds); err != nil {
				return nil, err
			}
		}
		slices.Reverse(order)
	}
	for i := range rows {
		rows[i].Enter.sum()
		rows[i].Leave.sum()
		rows[i].Both.sum()
	}
	return rows, nil
}

func clean(ctx context.Context, client *clientv3.Client, prefix string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	if _, err := client.Delete(ctx, prefix, clientv3.WithPrefix()); err != nil {
		return fmt.Errorf("bench: delete %s*: %w", prefix, err)
	}
	return nil
}
