package sim

import (
	"math/rand/v2"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/fenceline/fenceline/fencetest"
	"github.com/fenceline/fenceline/lock"
)

// plan is a scenario: what a seed says of it. Each leaves out much: what always happens together hides what happens alone.
type plan struct {
	seed      uint64
	members   int
	processes int
	actors    int // of each process
	ttl       time.Duration
	busy      time.Duration // until then things go wrong
	kinds     []kind        // what the actors do
	names     int           // of each kind
	handoffs  int           // of a mutex
	linger    time.Duration // of a mutex, by some
	users     bool          // with passwords
	observers bool          // a directory, and who observes elections, in each process
	calm      bool          // nothing goes wrong

	// Shares of requests.
	lost, answerLost, broken, tooLate, slow float64
	latency, slowness                       time.Duration
	chaos                                   []fault // what happens now and then
	every                                   time.Duration
}

func pick[T any](r *rand.Rand, some []T) T { return some[r.IntN(len(some))] }

// some are those of all that a coin says.
func some[T any](r *rand.Rand, all []T, share float64) (out []T) {
	for _, v := range all {
		if r.Float64() < share {
			out = append(out, v)
		}
	}
	return out
}

func newPlan(seed uint64) *plan {
	r := rand.New(rand.NewPCG(seed, 1))
	p := &plan{seed: seed, members: pick(r, []int{1, 1, 3}), processes: 2 + r.IntN(3), actors: 1 + r.IntN(3), ttl: time.Duration(2+r.IntN(9)) * time.Second,
		busy: time.Duration(20+r.IntN(40)) * time.Second, names: 1 + r.IntN(2), latency: pick(r, []time.Duration{0, 200 * time.Microsecond, 5 * time.Millisecond}),
		slowness: pick(r, []time.Duration{50 * time.Millisecond, time.Second, 10 * time.Second}), every: time.Duration(1+r.IntN(10)) * time.Second}
	p.users, p.observers, p.calm = r.IntN(6) == 0, r.IntN(2) == 0, r.IntN(10) == 0
	p.handoffs, p.linger = pick(r, []int{1, lock.DefaultHandoffs}), pick(r, []time.Duration{500 * time.Millisecond, 5 * time.Second})
	p.kinds = some(r, allKinds, 0.3)
	if len(p.kinds) == 0 {
		p.kinds = []kind{pick(r, allKinds)}
	}
	if p.calm {
		p.slowness = 0
		return p
	}
	for _, share := range []*float64{&p.lost, &p.answerLost, &p.broken, &p.tooLate, &p.slow} {
		if r.IntN(2) == 0 {
			*share = pick(r, []float64{0.002, 0.02, 0.1})
		}
	}
	p.chaos = some(r, allFaults, pick(r, []float64{0, 0.2, 0.5}))
	return p
}

// fate draws what becomes of a request from what it is: not from the order in which requests of several processes come.
func (s *scenario) fate(etcd *fencetest.Etcd) func(fencetest.Request) fencetest.Fate {
	p, seen := s.plan, newTally()
	return func(q fencetest.Request) fencetest.Fate {
		about := aboutOf(q.Message)
		n := seen.next(q.Node + q.Method + about)
		r := rand.New(rand.NewPCG(p.seed, hash(q.Node, q.Method+about, n)))
		f := fencetest.Fate{Delay: p.delay(r), AnswerDelay: p.delay(r)}
		if late := s.late.Load(); late != nil && late.node == q.Node {
			f.AnswerDelay += late.by
		}
		if etcd.Now() >= p.busy {
			return f
		}
		is := func(share float64) bool { return r.Float64() < share }
		watch := q.Method == "Watch" || q.Method == "WatchCancel" || q.Method == "WatchProgress"
		switch {
		case is(p.lost):
			f.Lost = true
		case watch:
		case is(p.answerLost):
			f.AnswerLost = true
		case is(p.broken):
			f.Broken, f.Lost = true, r.IntN(2) == 0
			f.AnswerLost = !f.Lost
		case is(p.tooLate):
			f.TooLate, f.Delay = true, time.Duration(r.Int64N(int64(5*time.Second)))
		}
		if is(p.slow) {
			f.Delay += time.Duration(r.Int64N(int64(p.slowness)))
		}
		if is(p.slow) {
			f.AnswerDelay += time.Duration(r.Int64N(int64(p.slowness)))
		}
		return f
	}
}

// aboutOf is the key that a request is about.
func aboutOf(m proto.Message) string {
	switch m := m.(type) {
	case *pb.RangeRequest:
		return string(m.Key)
	case *pb.PutRequest:
		return string(m.Key)
	case *pb.DeleteRangeRequest:
		return string(m.Key)
	case *pb.WatchCreateRequest:
		return string(m.Key)
	case *pb.TxnRequest:
		if len(m.GetCompare()) > 0 {
			return string(m.Compare[0].Key)
		}
		if len(m.GetSuccess()) > 0 {
			op := m.Success[0]
			return string(op.GetRequestRange().GetKey()) + string(op.GetRequestPut().GetKey()) + string(op.GetRequestDeleteRange().GetKey()) + aboutOf(op.GetRequestTxn())
		}
	}
	return ""
}

// delay differs by nanoseconds at least, so that the order of what comes at once is drawn as well.
func (p *plan) delay(r *rand.Rand) time.Duration {
	return p.latency/2 + time.Duration(r.Int64N(int64(p.latency)+1000))
}

func hash(node, method string, n int) uint64 {
	h := uint64(14695981039346656037)
	for _, s := range []string{node, "/", method} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
	}
	return (h ^ uint64(n)) * 1099511628211
}
