package elect

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/bench"
)

// Schema names the JSON form of a Result.
const Schema = "fenceline.bench.elect/v1"

// Config says what to measure.
type Config struct {
	Etcd       clientv3.Config
	Prefix     string          // all keys go below it, none stays; ends with a slash
	Subjects   []string        // names in Subjects
	Candidates int             // processes for each subject
	Resigns    int             // take-overs after Resign, of each subject
	Kills      int             // take-overs after SIGKILL, of each subject with each TTL
	EtcdKills  int             // the same with etcd's leader killed, too; needs Cluster
	TTLs       []time.Duration // for kills
	Talk       func(string)    // what it is doing, or nil

	// Command makes the command of a process that calls Serve with the same Etcd, its stdin and its stdout.
	Command func() *exec.Cmd
	// Cluster is the one that Etcd speaks of; nil if it is not ours to kill.
	Cluster Cluster
}

// Cluster is an etcd of several members.
type Cluster interface {
	// KillLeader kills the member that leads.
	KillLeader(ctx context.Context) error
	// Restore starts again what was killed and returns when it serves.
	Restore(ctx context.Context) error
}

// Defaults is a run of about a minute, without endpoints.
func Defaults() Config {
	return Config{
		Prefix:     "fenceline-bench-elect/",
		Subjects:   []string{"fenceline", "etcd"},
		Candidates: 3,
		Resigns:    200,
		Kills:      20,
		TTLs:       []time.Duration{2 * time.Second},
	}
}

// Validate says which value breaks which rule; its errors are bench.ErrInvalid.
func (c *Config) Validate() error {
	switch {
	case c.Candidates < 2:
		return bench.Invalid("candidates is %d, want at least 2: somebody has to be next", c.Candidates)
	case c.Resigns < 0:
		return bench.Invalid("resigns is %d, want 0 or more", c.Resigns)
	case c.Kills < 0:
		return bench.Invalid("kills is %d, want 0 or more", c.Kills)
	case c.EtcdKills < 0:
		return bench.Invalid("etcd-kills is %d, want 0 or more", c.EtcdKills)
	case c.Resigns+c.Kills+c.EtcdKills == 0:
		return bench.Invalid("nothing to measure: no resigns and no kills")
	case len(c.Subjects) == 0:
		return bench.Invalid("no subject, want at least one")
	case len(c.TTLs) == 0:
		return bench.Invalid("no ttl, want at least one")
	}
	for _, ttl := range c.TTLs {
		if ttl < 2*time.Second || ttl > 24*time.Hour || ttl%time.Second != 0 {
			return bench.Invalid("ttl is %v, want whole seconds from 2s to 24h", ttl)
		}
	}
	for i, name := range c.Subjects {
		if slices.Contains(c.Subjects[:i], name) {
			return bench.Invalid("subject %q is there twice", name)
		}
	}
	_, err := Subjects.ByName(c.Subjects...)
	return err
}

// Result is a row for each subject and way for a term to end.
type Result struct {
	Schema     string `json:"schema"`
	Candidates int    `json:"candidates"`
	Put        *Times `json:"put,omitempty"` // plain puts between the resignations: what a proposal takes
	Rows       []Row  `json:"rows"`
}

// The ways for a term to end.
const (
	Resign      = "resign"
	Kill        = "kill"
	KillAndEtcd = "kill + etcd"
)

// Row is what one subject gave.
type Row struct {
	End     string        `json:"end"` // Resign, Kill or KillAndEtcd
	Subject string        `json:"subject"`
	TTL     time.Duration `json:"ttl_ns"`
	Times
	// Unasked counts terms that ended by themselves, as on a machine too busy to renew; what was being measured then
	// was measured again.
	Unasked int `json:"unasked"`
	// Late counts take-overs after a kill that took longer than the TTL and a second.
	Late int `json:"late,omitempty"`
	// Reset counts kills of etcd's leader after which the dead leader's lease had more time left than before.
	Reset *int `json:"ttl_resets,omitempty"`
}

// Times is what was measured, in order, and what is usually made of it.
type Times struct {
	Median time.Duration   `json:"median_ns"`
	Max    time.Duration   `json:"max_ns"`
	All    []time.Duration `json:"all_ns"`
}

func (t *Times) add(d time.Duration) {
	t.All = append(t.All, d)
	sorted := slices.Sorted(slices.Values(t.All))
	n := len(sorted)
	t.Median = (sorted[(n-1)/2] + sorted[n/2]) / 2
	t.Max = sorted[n-1]
}

// Run measures one way after the other. When ctx ends, or something fails, it returns the rows it has, with the reason.
func Run(ctx context.Context, cfg Config) (result *Result, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.EtcdKills > 0 && cfg.Cluster == nil {
		return nil, bench.Invalid("etcd-kills needs a cluster to kill members of")
	}
	if cfg.Talk == nil {
		cfg.Talk = func(string) {}
	}
	r := &runner{Config: cfg, result: &Result{Schema: Schema, Candidates: cfg.Candidates}}
	if r.client, err = clientv3.New(cfg.Etcd); err != nil {
		return nil, fmt.Errorf("%w: %w", bench.ErrUnreachable, err)
	}
	defer func() { err = errors.Join(err, r.clean(ctx)) }()
	err = r.run(ctx)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return r.result, err
}
