package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/fencetest"
	"github.com/fenceline/fenceline/internal/chance"
	"github.com/fenceline/fenceline/registry"
	"github.com/fenceline/fenceline/session"
)

// scenario is one that runs, in a bubble of its own.
type scenario struct {
	plan      *plan
	etcd      *fencetest.Etcd
	world     *world
	processes []*process
	actors    []*actor
	observers []*observer
	late      atomic.Pointer[lateness]
}

// busy is who does what.
func (s *scenario) busy() (all []string) {
	for _, a := range s.actors {
		if kind := a.doing.Load(); kind != nil {
			all = append(all, a.name+": "+*kind)
		}
	}
	return all
}

// process is one of those that coordinate.
type process struct {
	id      int
	node    *fencetest.Node
	client  *clientv3.Client
	session *session.Session
	ctx     context.Context // ends when it has had enough

	// Of a plan with observers.
	lasting   *registry.Registration
	directory *registry.Directory
}

// Report is how a scenario went.
type Report struct {
	Seed       uint64
	Violations []string
	Counts     map[string]int // of faults, and of states that were reached
	Requests   int
	Transcript func() string
}

// patience is how long after the last fault everything must be over.
const patience = 5 * time.Minute

// Run is one seed of a scenario, in the calling bubble.
func Run(t *testing.T, of string, seed uint64) *Report {
	defer chance.Seed(seed)()
	p := newPlan(seed)
	scenarios[of](p)
	s := &scenario{plan: p, etcd: fencetest.Start(t, fencetest.WithMembers(p.members))}
	s.world = newWorld(s.etcd)
	s.world.calm = p.calm
	s.run(t)
	report := &Report{Seed: seed, Violations: s.world.violations, Counts: s.world.counts, Requests: s.etcd.Requests(), Transcript: s.etcd.Transcript}
	for name, n := range s.etcd.Faults() {
		report.Counts["request: "+name] += n
	}
	return report
}

func (s *scenario) run(t *testing.T) {
	r := rand.New(rand.NewPCG(s.plan.seed, 3))
	configure := s.users(t)
	over, enough := context.WithCancel(context.Background())
	defer enough()
	for i := range s.plan.processes {
		pr := &process{id: i, node: s.etcd.Node(fmt.Sprintf("p%d", i)), ctx: over}
		pr.node.Skew(1 + (r.Float64()-0.5)*0.02)
		pr.client = pr.node.Client(t, configure)
		var err error
		if pr.session, err = session.Open(context.Background(), pr.client, session.WithTTL(s.plan.ttl), session.WithName(pr.node.Name()), session.WithWitness("")); err != nil {
			s.world.complain("open: %v", err)
			return
		}
		if s.plan.observers {
			if err := pr.settle(context.Background()); err != nil {
				s.world.complain("settle: %v", err)
				return
			}
		}
		s.processes = append(s.processes, pr)
	}
	s.etcd.Decide(s.fate(s.etcd))
	var actors sync.WaitGroup
	for _, pr := range s.processes {
		for i := range s.plan.actors {
			a := &actor{s: s, process: pr, id: i, name: fmt.Sprintf("%s.%d", pr.node.Name(), i), r: rand.New(rand.NewPCG(s.plan.seed, uint64(100+10*pr.id+i)))}
			s.actors = append(s.actors, a)
			actors.Go(a.live)
		}
	}
	observing, stop := context.WithCancel(context.Background())
	defer stop()
	var observers sync.WaitGroup
	for _, pr := range s.processes {
		if s.plan.observers {
			o := &observer{topic: "election0", who: pr.node.Name()}
			s.observers = append(s.observers, o)
			observers.Go(func() { o.watch(observing, s, pr) })
		}
	}
	s.disturb()
	for _, pr := range s.processes {
		pr.node.Heal()
	}
	s.world.mu.Lock()
	s.world.counts["scenarios"]++
	s.world.mu.Unlock()

	done := make(chan struct{})
	go func() { actors.Wait(); close(done) }()
	within := func(d time.Duration) bool {
		select {
		case <-done:
			return true
		case <-time.After(d):
			return false
		}
	}
	if !within(patience) {
		s.world.complain("somebody waits %v after the last fault: %v", patience, s.busy())
	}
	enough()
	if !within(patience) {
		s.world.complain("somebody waits %v after the end of its ctx: %v", patience, s.busy())
	}
	if s.plan.observers {
		s.checkDirectories()
		s.checkObservers()
	}
	stop()
	observers.Wait()
	var closing sync.WaitGroup
	for _, pr := range s.processes {
		closing.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if pr.directory != nil {
				_ = pr.directory.Close() // it returns nil
			}
			lease := pr.session.Lease() // one that was lost before may live on until it runs out
			if err := pr.session.Close(ctx); err != nil {
				s.world.complain("close of %s: %v", pr.node.Name(), err)
			}
			// The lease itself may be there again: a request for it that was on its way all the time grants it anew, with nothing under it.
			for _, kv := range s.etcd.Keys() {
				if kv.Lease == int64(lease) && lease != clientv3.NoLease {
					s.world.complain("%s, under lease %x, outlives the Close of %s", kv.Key, kv.Lease, pr.node.Name())
				}
			}
			_ = pr.client.Close()
		})
	}
	closing.Wait()
	if !within(patience) {
		panic(fmt.Sprintf("somebody waits %v after its session was closed: %v", patience, s.busy()))
	}
	time.Sleep(time.Minute) // what is still on its way
	s.world.checkQuiet()
	s.world.checkWrites()
	s.world.checkGates()
	if s.plan.calm {
		s.world.checkOwners()
	}
}

// users has etcd ask for passwords, if that is planned, and returns how a client is told its own.
func (s *scenario) users(t *testing.T) func(*clientv3.Config) {
	if !s.plan.users {
		return func(*clientv3.Config) {}
	}
	ctx, admin := t.Context(), s.etcd.Client(t)
	for _, user := range []string{"root", "app"} {
		_, err := admin.UserAdd(ctx, user, "secret")
		s.must(err)
		_, err = admin.RoleAdd(ctx, user)
		s.must(err)
		_, err = admin.UserGrantRole(ctx, user, user)
		s.must(err)
	}
	_, err := admin.RoleGrantPermission(ctx, "app", "\x00", "\x00", clientv3.PermissionType(clientv3.PermReadWrite))
	s.must(err)
	_, err = admin.AuthEnable(ctx)
	s.must(err)
	s.must(admin.Close())
	return func(c *clientv3.Config) { c.Username, c.Password = "app", "secret" }
}

// must is for what is done before anything goes wrong.
func (s *scenario) must(err error) {
	if err != nil {
		panic(err)
	}
}

// checkObservers has all who observe an election see that nobody leads, in a while.
func (s *scenario) checkObservers() {
	for _, o := range s.observers {
		for end := s.etcd.Now() + patience; !o.seesNobody() && s.etcd.Now() < end; {
			time.Sleep(100 * time.Millisecond)
		}
		if !o.seesNobody() {
			s.world.complain("%s observes a leader of %s %v after the last has resigned", o.who, o.topic, patience)
		}
	}
}

// live takes turns until the busy time is over.
func (a *actor) live() {
	for a.s.etcd.Now() < a.s.plan.busy {
		k := pick(a.r, a.s.plan.kinds)
		a.kind = k.name
		a.doing.Store(&k.name)
		k.turn(a)
		a.doing.Store(nil)
		time.Sleep(time.Duration(a.r.Int64N(int64(500 * time.Millisecond))))
	}
}
