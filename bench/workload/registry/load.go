// Package registry is the workload of a service registry: instances that come, are seen, and go; and a probe of what else
// one has to do: many watchers, resolvers, deaths, a large directory, a session at rest.
//
// The rival is what go.etcd.io/etcd/client/v3/naming/endpoints gives, used as its documentation says.
package registry

import (
	"flag"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/fenceline/fenceline/bench"
)

// Load has everybody register an instance of one service, again and again, each time another one.
type Load struct{}

// About says that a turn is a registration.
func (Load) About() bench.About {
	return bench.About{Workload: "registry", Unit: "registration", Names: []string{service}}
}

const service = "web"

// Validate has nothing to say.
func (Load) Validate() error { return nil }

// room is for as many at once as a cell may have workers.
const room = 1 << 20

// Referee asks contenders what they have seen of their own registrations.
func (Load) Referee(bench.Cell) bench.Referee { return &referee{Gauge: bench.NewGauge(1, room)} }

type referee struct {
	*bench.Gauge
	views sync.Map // *view
}

var theOnlyName = []int{0}

func (r *referee) Next(_ *rand.Rand, t *bench.Turn) { t.Units, t.Names = 1, theOnlyName }

// viewer is a Locker that knows what its contender has seen.
type viewer interface{ sight() *view }

func (r *referee) Enter(t *bench.Turn, l bench.Locker) int64 {
	if v, ok := l.(viewer); ok {
		r.views.LoadOrStore(v.sight(), nil)
	}
	return r.Gauge.Enter(t, l)
}

func (r *referee) Safety() bench.Safety {
	s := r.Gauge.Safety()
	for v := range r.views.Range {
		s.Flaps += v.(*view).flapped()
	}
	return s
}

// Workload measures a few contenders, and then the probe.
func Workload() bench.Workload {
	return bench.Workload{
		Name:  "registry",
		Short: "Measure a service registry",
		Long: `Measure a service registry, beside etcd's own package naming/endpoints. A turn registers an instance, waits until the
contender's own watcher shows it, takes it back, and waits until it is gone: acquire is from the call that registers until it
is seen. It is checked that a registration is seen for as long as it is there, and not after.

Then, in a table of its own: how soon each of many watchers, and a resolver of gRPC, see a registration and its end; from kill
-9 of a process until its instance is gone; a look at etcd against a read from memory; loading many instances, the memory they
take, and how soon a change of one is seen; and what a session with many registrations asks of etcd while nothing happens.`,
		Subjects:   subjects,
		Versus:     []string{"fenceline", "etcd"},
		Contenders: []int{1, 8, 32},
		Flags: func(*flag.FlagSet) func([]bench.Cell) []bench.Cell {
			return func(grid []bench.Cell) []bench.Cell { return bench.Each(grid, Load{}) }
		},
		Probes: func(f *flag.FlagSet) func() []bench.Probe {
			p := new(Probe)
			f.IntVar(&p.Watchers, "watchers", 100, "`number` of watchers, each with a connection of its own")
			f.IntVar(&p.Times, "times", 100, "`number` of registrations that they see")
			f.IntVar(&p.Kills, "kills", 3, "`number` of processes to kill -9")
			f.DurationVar(&p.TTL, "kill-ttl", 5*time.Second, "`time` that their leases live without renewal")
			f.IntVar(&p.Instances, "instances", 10_000, "`number` of instances of the large directory")
			f.IntVar(&p.Services, "services", 100, "`number` of services that they are of")
			f.IntVar(&p.Registrations, "registrations", 1000, "`number` of registrations of the session at rest")
			return func() []bench.Probe { return []bench.Probe{p} }
		},
	}
}
