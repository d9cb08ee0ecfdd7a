package dashboard

import (
	"maps"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/inspect"
)

// lost is a hold whose session was gone at the next look.
type lost struct {
	At    time.Time `json:"at"`
	Kind  string    `json:"kind"`
	Name  string    `json:"name"`
	Who   string    `json:"who"`
	Lease string    `json:"lease"`
}

// memory is what looks leave behind.
type memory struct {
	before    *inspect.Snapshot
	deadlocks []inspect.Deadlock
	judged    time.Time // when it was looked for deadlocks
	lost      []lost
	ownerless map[string]time.Time
	leaders   map[string]bool
	up        map[string][]upAt
	longest   map[clientv3.LeaseID]time.Duration // what was ever left of a lease
}

type upAt struct {
	n  int
	at time.Time
}

// take draws what only two looks show.
func (mem *memory) take(l *look, now time.Time, closed func(kind, name, key string) bool) {
	mem.takeLost(l.Snapshot, now, closed)
	l.lost = slices.Clone(mem.lost)
	if now.Sub(mem.judged) >= judgeEach {
		l.deadlocks = l.Confirmed(mem.deadlocks)
		mem.deadlocks, mem.judged = l.Deadlocks(), now
	}
	mem.takeLines(l.Snapshot, now)
	l.ownerless, l.leaders = maps.Clone(mem.ownerless), maps.Clone(mem.leaders)
	mem.takeServices(l, now)
	mem.takeLeases(l)
	mem.before = l.Snapshot
}

// takeLost finds holds that went together with their session. Whether that was closed, history tells.
func (mem *memory) takeLost(s *inspect.Snapshot, now time.Time, closed func(kind, name, key string) bool) {
	mem.lost = slices.DeleteFunc(mem.lost, func(l lost) bool { return now.Sub(l.At) > lostFor })
	if mem.before == nil {
		return
	}
	alive, was, stands := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, session := range s.Sessions {
		alive[session.Lease] = true
	}
	for _, session := range mem.before.Sessions {
		was[session.Lease] = true
	}
	for _, line := range s.Lines {
		for i := range line.Entries {
			stands[line.Entries[i].Key] = true
		}
	}
	orderly := map[string]bool{} // of a session, all holds end alike
	for _, line := range mem.before.Lines {
		for i := range line.Entries {
			e := &line.Entries[i]
			of := sessionOf(e)
			if e.State != inspect.Holds || stands[e.Key] || !was[of] || alive[of] || len(mem.lost) >= mostLost {
				continue
			}
			is, known := orderly[of]
			if !known {
				is = len(orderly) < mostAsked && closed(line.Kind, line.Name, e.Key)
				orderly[of] = is
			}
			if !is {
				mem.lost = append(mem.lost, lost{now, line.Kind, line.Name, e.Who(), of})
			}
		}
	}
}

// mostAsked is about how many sessions history is asked after one look. Of a rack of machines that goes at once, all were lost.
const mostAsked = 20

// sessionOf is the first lease of the session that an entry hangs on.
func sessionOf(e *inspect.Entry) string {
	if e.Session != nil && e.Session.Of != "" {
		return e.Session.Of
	}
	return e.Lease
}

func (mem *memory) takeLines(s *inspect.Snapshot, now time.Time) {
	ownerless, leading := map[string]time.Time{}, map[string]bool{}
	for _, line := range s.Lines {
		holds, waits := count(line)
		if line.Kind == inspect.Election && holds > 0 {
			leading[line.Name] = true
		}
		if holds == 0 && waits > 0 && line.Kind != inspect.Barrier && line.Kind != inspect.Gate && line.Kind != inspect.Latch {
			since, known := mem.ownerless[id(line.Kind, line.Name)]
			if !known {
				since = now
			}
			ownerless[id(line.Kind, line.Name)] = since
		}
	}
	mem.ownerless = ownerless
	for name := range mem.leaders {
		mem.leaders[name] = leading[name]
	}
	for name := range leading {
		if len(mem.leaders) < mostLost {
			mem.leaders[name] = true
		}
	}
}

func (mem *memory) takeServices(l *look, now time.Time) {
	l.most = map[string]int{}
	for service, all := range l.Services {
		n := 0
		for i := range all {
			if all[i].Status == "up" {
				n++
			}
		}
		if len(mem.up) < mostLost || mem.up[service] != nil {
			if seen := mem.up[service]; len(seen) == 0 || seen[len(seen)-1].n != n {
				mem.up[service] = append(seen, upAt{n, now})
			} else {
				seen[len(seen)-1].at = now
			}
		}
	}
	for service, seen := range mem.up {
		if l.Services[service] == nil && seen[len(seen)-1].n != 0 {
			seen = append(seen, upAt{0, now})
		}
		seen = slices.DeleteFunc(seen, func(u upAt) bool { return now.Sub(u.at) > time.Hour })
		if seen = seen[max(len(seen)-100, 0):]; len(seen) == 0 {
			delete(mem.up, service)
			continue
		}
		mem.up[service] = seen
		for _, u := range seen {
			l.most[service] = max(l.most[service], u.n)
		}
	}
}

// takeLeases finds sessions whose leases have run down below a third of what was ever left of them: no renewal has got through.
func (mem *memory) takeLeases(l *look) {
	l.suspects = map[string]time.Duration{}
	known, of := map[clientv3.LeaseID]time.Duration{}, map[clientv3.LeaseID]string{}
	for _, line := range l.Lines {
		for i := range line.Entries {
			of[line.Entries[i].LeaseID()] = sessionOf(&line.Entries[i])
		}
	}
	for lease, left := range l.left {
		most := max(mem.longest[lease], left)
		known[lease] = most
		if left < most/3 {
			l.suspects[of[lease]] = left
		}
	}
	mem.longest = known
}
