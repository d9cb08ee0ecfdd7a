package sim

import (
	"math/rand/v2"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/fencetest"
)

// fault is what happens to a whole node or to etcd, now and then. It returns what ends it, if that is not over at once.
type fault struct {
	name string
	do   func(s *scenario, r *rand.Rand) (end func())
}

var allFaults = []fault{
	{"cut", func(s *scenario, r *rand.Rand) func() {
		n := pick(r, s.processes).node
		n.Cut(pick(r, []fencetest.Direction{fencetest.Both, fencetest.In, fencetest.Out}))
		return n.Heal
	}},
	{"late answers, then none", func(s *scenario, r *rand.Rand) func() {
		n := pick(r, s.processes).node
		s.late.Store(&lateness{n.Name(), time.Duration(r.Int64N(int64(s.plan.ttl / 4)))})
		time.Sleep(s.plan.ttl)
		n.Cut(fencetest.Both)
		s.late.Store(nil)
		return n.Heal
	}},
	{"refuse", func(s *scenario, r *rand.Rand) func() {
		n := pick(r, s.processes).node
		n.Refuse()
		return n.Heal
	}},
	{"reset", func(s *scenario, r *rand.Rand) func() { pick(r, s.processes).node.Reset(); return nil }},
	{"silence", func(s *scenario, r *rand.Rand) func() { pick(r, s.processes).node.Silence(); return nil }},
	{"end watches", func(s *scenario, r *rand.Rand) func() { pick(r, s.processes).node.EndWatches(); return nil }},
	{"expire", func(s *scenario, r *rand.Rand) func() { s.endLease(r, s.etcd.Expire); return nil }},
	{"revoke", func(s *scenario, r *rand.Rand) func() { s.endLease(r, s.etcd.Revoke); return nil }},
	{"compact", func(s *scenario, r *rand.Rand) func() { s.etcd.Compact(); return nil }},
	{"change leader", func(s *scenario, r *rand.Rand) func() {
		s.etcd.ChangeLeader(time.Duration(r.Int64N(int64(4 * time.Second))))
		return nil
	}},
	{"away", func(s *scenario, r *rand.Rand) func() { s.etcd.Stop(); return s.etcd.Resume }},
	{"lag", func(s *scenario, r *rand.Rand) func() {
		if s.plan.members == 1 {
			return nil
		}
		m := 1 + r.IntN(s.plan.members)
		s.etcd.Lag(m)
		return func() { s.etcd.CatchUp(m) }
	}},
	{"restore", func(s *scenario, r *rand.Rand) func() {
		backup := s.etcd.Backup()
		time.Sleep(time.Duration(r.Int64N(int64(2 * s.plan.ttl))))
		s.etcd.Stop()
		s.world.restored(s.etcd.Leases())
		s.etcd.Restore(backup)
		s.etcd.Resume()
		return nil
	}},
	{"forget who has logged in", func(s *scenario, _ *rand.Rand) func() {
		if s.plan.users {
			s.etcd.ForgetTokens()
		}
		return nil
	}},
	{"delete", func(s *scenario, r *rand.Rand) func() {
		if key := s.takeEntry(r); key != "" {
			s.etcd.Delete(key)
		}
		return nil
	}},
	{"overwrite", func(s *scenario, r *rand.Rand) func() {
		if key := s.takeEntry(r); key != "" {
			s.etcd.Put(key, "somebody's")
			return func() {
				if value, _ := s.etcd.Get(key); value == "somebody's" { // else another entry stands there by now, of whose holder nobody was told
					s.etcd.Delete(key)
				}
			}
		}
		return nil
	}},
	{"no space", func(s *scenario, r *rand.Rand) func() {
		s.etcd.SetNoSpace(true)
		return func() { s.etcd.SetNoSpace(false) }
	}},
}

// lateness is how much later all answers to a node are.
type lateness struct {
	node string
	by   time.Duration
}

func (s *scenario) endLease(r *rand.Rand, end func(clientv3.LeaseID)) {
	if all := s.etcd.Leases(); len(all) > 0 {
		lease := pick(r, all)
		s.world.taint(lease)
		end(lease)
	}
}

// takeEntry picks one under a lease, of which whoever holds by it is not asked.
func (s *scenario) takeEntry(r *rand.Rand) string {
	var all []*mvccpb.KeyValue
	for _, kv := range s.etcd.Keys() {
		if key := string(kv.Key); kv.Lease != 0 && !strings.Contains(key, "/session/") && !strings.Contains(key, "/barrier/") {
			all = append(all, kv)
		}
	}
	if len(all) == 0 {
		return ""
	}
	kv := pick(r, all)
	s.world.took(kv)
	return string(kv.Key)
}

// disturb does faults until the busy time is over, and ends those that have an end.
func (s *scenario) disturb() {
	r := rand.New(rand.NewPCG(s.plan.seed, 2))
	if len(s.plan.chaos) == 0 {
		time.Sleep(s.plan.busy)
		return
	}
	for {
		wait := time.Duration(r.Int64N(int64(2 * s.plan.every)))
		if s.etcd.Now()+wait >= s.plan.busy {
			break
		}
		time.Sleep(wait)
		f := pick(r, s.plan.chaos)
		s.world.count("fault: " + f.name)
		if end := f.do(s, r); end != nil {
			time.Sleep(time.Duration(r.Int64N(int64(3 * s.plan.ttl))))
			end()
		}
	}
	time.Sleep(max(s.plan.busy-s.etcd.Now(), 0))
}
