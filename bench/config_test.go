package bench_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/subject"
	"github.com/fenceline/fenceline/bench/subject/local"
)

func TestBadSettingIsRefusedByValueAndRuleBeforeAnythingStarts(t *testing.T) {
	cell := func(change func(*bench.Cell)) func(*bench.Config) {
		return func(c *bench.Config) { change(&c.Cells[0]) }
	}
	for want, breakIt := range map[string]func(*bench.Config){
		"contenders is 0, want at least 1":                                                        cell(func(c *bench.Cell) { c.Contenders = 0 }),
		"goroutines is 3, want at most 100000 together":                                           cell(func(c *bench.Cell) { c.Contenders, c.Goroutines = 1e8, 3 }),
		"goroutines is -1, want at least 1":                                                       cell(func(c *bench.Cell) { c.Goroutines = -1 }),
		"hold is -1ms, want 0 or more":                                                            cell(func(c *bench.Cell) { c.Hold = -time.Millisecond }),
		"hold is 2s, want less than the measured time of 2s":                                      cell(func(c *bench.Cell) { c.Hold = 2 * time.Second }),
		"rate is -1, want 0 to 1000000 a second":                                                  cell(func(c *bench.Cell) { c.Rate = -1 }),
		"duration is 0s, want more than 0":                                                        func(c *bench.Config) { c.Duration = 0 },
		"warm-up is -1s, want 0 or more":                                                          func(c *bench.Config) { c.WarmUp = -time.Second },
		"rounds is 0, want at least 1":                                                            func(c *bench.Config) { c.Rounds = 0 },
		"ttl is 1s, want whole seconds from 2s to 24h":                                            func(c *bench.Config) { c.TTL = time.Second },
		"ttl is 2.5s, want whole seconds from 2s to 24h":                                          func(c *bench.Config) { c.TTL = 2500 * time.Millisecond },
		"no subjects, want at least one":                                                          func(c *bench.Config) { c.Subjects = nil },
		"no cells and no probes, want at least one":                                               func(c *bench.Config) { c.Cells = nil },
		"subject local is there twice":                                                            func(c *bench.Config) { c.Subjects = append(c.Subjects, local.New()) },
		`subject is "zk", want one of etcd, fenceline, fenceline-linger, fenceline-strict, local`: func(c *bench.Config) { c.Subjects = nil },
	} {
		cfg := bench.Defaults() // no endpoints: whoever dials fails otherwise
		cfg.Subjects = []bench.Subject{local.New()}
		breakIt(&cfg)
		_, err := bench.Run(t.Context(), cfg)
		if strings.Contains(want, "zk") {
			_, err = subject.ByName("etcd", "zk")
		}
		if !errors.Is(err, bench.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestDefaultRunTakesUnderTwoMinutes(t *testing.T) {
	cfg := bench.Defaults()
	cfg.Subjects = []bench.Subject{local.New(), local.New()}
	if d := cfg.Estimate(); d > 105*time.Second { // joining and leaving take the rest
		t.Errorf("%v", d)
	}
}

func TestCellNames(t *testing.T) {
	for want, cell := range map[string]bench.Cell{
		"8":           {Contenders: 8, Goroutines: 1},
		"4×16":        {Contenders: 4, Goroutines: 16},
		"2 hold 10ms": {Contenders: 2, Goroutines: 1, Hold: 10 * time.Millisecond},
		"1×64 fenced": {Contenders: 1, Goroutines: 64, Fenced: true},
		"1 hold 1s":   bench.Grid([]int{1}, []int{1}, []time.Duration{time.Second}, false)[0],
		"2×3 fenced":  bench.Grid([]int{1, 2}, []int{3}, []time.Duration{0}, true)[1],
	} {
		if got := cell.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
