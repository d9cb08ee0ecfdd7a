package bench

import (
	"errors"
	"fmt"
	"os/exec"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// ErrInvalid is what every error about a Config is.
var ErrInvalid = errors.New("bench: invalid setting")

// Invalid makes one, for a Load: "readers is %d, want 0 to 100".
func Invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

// Config says what to run. Start from [Defaults]: no field has a hidden meaning when zero.
type Config struct {
	Etcd     clientv3.Config // endpoints and credentials; each contender dials a copy of it
	Subjects []Subject       // ratios are to the last one
	Cells    []Cell
	Probes   []Probe       // what to measure after the cells
	Rounds   int           // trials of each subject in each cell
	Duration time.Duration // measured time of a trial
	WarmUp   time.Duration // time before that, not counted
	TTL      time.Duration // of the contenders' leases
	Seed     uint64        // of what loads draw; in one round all subjects see the same
	Progress Progress

	Conditions []string // that the caller has made, for the report: see package condition

	// Command makes the command of a process that plays a role of a probe against the same etcd: it calls Serve of package
	// workload with that role, its stdin and its stdout. nil: there are no probes that need processes.
	Command func(role string) *exec.Cmd
}

// Defaults is the run of under two minutes, without endpoints and subjects.
func Defaults() Config {
	return Config{
		Cells:    DefaultCells(),
		Rounds:   2,
		Duration: 2 * time.Second,
		WarmUp:   300 * time.Millisecond,
		TTL:      15 * time.Second,
		Seed:     1,
	}
}

// Validate says which value breaks which rule; its errors are ErrInvalid. It asks nobody.
func (c *Config) Validate() error {
	switch {
	case len(c.Subjects) == 0:
		return Invalid("no subjects, want at least one")
	case len(c.Cells)+len(c.Probes) == 0:
		return Invalid("no cells and no probes, want at least one")
	case c.Rounds < 1:
		return Invalid("rounds is %d, want at least 1", c.Rounds)
	case c.Duration <= 0:
		return Invalid("duration is %v, want more than 0", c.Duration)
	case c.WarmUp < 0:
		return Invalid("warm-up is %v, want 0 or more", c.WarmUp)
	case c.TTL < 2*time.Second || c.TTL > 24*time.Hour || c.TTL%time.Second != 0:
		return Invalid("ttl is %v, want whole seconds from 2s to 24h", c.TTL)
	}
	seen := map[string]bool{}
	for _, s := range c.Subjects {
		if seen[s.Name()] {
			return Invalid("subject %s is there twice", s.Name())
		}
		seen[s.Name()] = true
	}
	cells := map[Cell]bool{}
	for _, cell := range c.Cells {
		if err := cell.validate(); err != nil {
			return err
		}
		if cells[cell] {
			return Invalid("cell %v is there twice", cell)
		}
		cells[cell] = true
		if cell.Hold >= c.Duration {
			return Invalid("hold is %v, want less than the measured time of %v", cell.Hold, c.Duration)
		}
	}
	for _, probe := range c.Probes {
		if err := probe.Validate(); err != nil {
			return err
		}
	}
	return nil
}

// Estimate is how long the run takes, without joining and leaving.
func (c *Config) Estimate() time.Duration {
	return time.Duration(len(c.Cells)*len(c.Subjects)*c.Rounds)*(c.WarmUp+c.Duration) + c.estimateProbes()
}

func (c *Config) estimateProbes() (sum time.Duration) {
	for _, probe := range c.Probes {
		sum += probe.Estimate()
	}
	return sum
}

// Progress is a set of hooks; any may be nil. They are called from the goroutine of Run, between trials or while it
// waits for one.
type Progress struct {
	Tick  func(Tick)       // a few times a second
	Cell  func(CellResult) // a cell is complete
	Probe func(Step)       // a probe begins with something else
}

// Step is what a probe does.
type Step struct {
	Text string
	Left time.Duration // of the whole run, by what probes say they take
}

// Tick is where a run stands.
type Tick struct {
	Cell    Cell
	Subject string
	Round   int           // from 1
	Left    time.Duration // of the whole run, by what trials took so far
	Rate    float64       // acquisitions per second since the last tick, of the trial that runs
}
