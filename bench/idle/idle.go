// Package idle measures what locks cost while nothing happens to them: the memory of a held lock and of a waiter in
// the client, and what a session with a thousand of them says to etcd.
//
// Everything is measured in this process, so etcd has to run in another one.
package idle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/cost"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Schema names the JSON form of a Result.
const Schema = "fenceline.bench.idle/v1"

// Config says what to measure.
type Config struct {
	Etcd    clientv3.Config
	Prefix  string          // all keys go below it, none stays; ends with a slash
	Locks   int             // held by one session, and waited for by another
	TTLs    []time.Duration // one measurement for each
	Windows int             // for how many TTLs to watch the traffic
	Talk    func(string)    // what it is doing, or nil
}

// Defaults is a run of about a minute, without endpoints.
func Defaults() Config {
	return Config{
		Prefix:  "fenceline-bench-idle/",
		Locks:   1000,
		TTLs:    []time.Duration{5 * time.Second, 15 * time.Second},
		Windows: 1,
	}
}

// Validate says which value breaks which rule; its errors are bench.ErrInvalid.
func (c *Config) Validate() error {
	switch {
	case c.Locks < 1:
		return fmt.Errorf("%w: locks is %d, want at least 1", bench.ErrInvalid, c.Locks)
	case c.Windows < 1:
		return fmt.Errorf("%w: windows is %d, want at least 1", bench.ErrInvalid, c.Windows)
	case len(c.TTLs) == 0:
		return fmt.Errorf("%w: no ttl, want at least one", bench.ErrInvalid)
	}
	for _, ttl := range c.TTLs {
		if ttl < 2*time.Second || ttl > 24*time.Hour || ttl%time.Second != 0 {
			return fmt.Errorf("%w: ttl is %v, want whole seconds from 2s to 24h", bench.ErrInvalid, ttl)
		}
	}
	return nil
}

// Result is one row for each TTL.
type Result struct {
	Schema string `json:"schema"`
	Locks  int    `json:"locks"`
	Rows   []Row  `json:"rows"`
}

// Row is what one TTL gave.
type Row struct {
	TTL     time.Duration `json:"ttl_ns"`
	Held    Idle          `json:"held"`    // by the session that holds all the locks
	Waiting Idle          `json:"waiting"` // by the session that waits for all of them
}

// Idle is what one session needs while nothing happens.
type Idle struct {
	Heap       float64       `json:"heap_bytes_per_lock"`  // live objects, after a collection
	Stack      float64       `json:"stack_bytes_per_lock"` // in use, that of the goroutine that called Acquire included
	Goroutines float64       `json:"goroutines_per_lock"`  // the caller's included
	Window     time.Duration `json:"window_ns"`
	Expected   float64       `json:"renewals_expected"` // one for each third of the TTL
	Traffic    cost.Count    `json:"traffic"`           // within the window
}

// Run measures one TTL after the other. When ctx ends it returns the rows it has, with ctx's cause.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Talk == nil {
		cfg.Talk = func(string) {}
	}
	result := &Result{Schema: Schema, Locks: cfg.Locks}
	for _, ttl := range cfg.TTLs {
		row, err := measure(ctx, cfg, ttl)
		if ctx.Err() != nil {
			return result, context.Cause(ctx)
		}
		if err != nil {
			return result, fmt.Errorf("bench: idle locks with TTL %v: %w", ttl, err)
		}
		result.Rows = append(result.Rows, row)
	}
	return result, nil
}

func measure(ctx context.Context, cfg Config, ttl time.Duration) (row Row, err error) {
	row.TTL = ttl
	holder, err := join(ctx, cfg, ttl)
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, holder.leave(ctx)) }()
	waiter, err := join(ctx, cfg, ttl)
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, waiter.leave(ctx)) }()

	cfg.Talk(fmt.Sprintf("TTL %v: %d held locks", ttl, cfg.Locks))
	if row.Held, err = holder.idle(ctx, holder.hold); err != nil {
		return row, err
	}
	cfg.Talk(fmt.Sprintf("TTL %v: %d waiters", ttl, cfg.Locks))
	row.Waiting, err = waiter.idle(ctx, waiter.wait)
	return row, err
}
