// Package doctor finds what is wrong with an etcd, and with what stands in it, as far as that matters to who takes locks there. Gather asks, and
// writes nothing; Examine judges what was found, and asks nobody.
package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fenceline/fenceline/inspect"
)

// Facts are what was found.
type Facts struct {
	Members   []Member
	Alarms    []string // "NOSPACE at member 8e9e05c52164694d"
	Revision  int64
	Compacted int64         // where history begins
	Slowest   time.Duration // of a few linearizable reads
	NoQuorum  error         // one of them has failed; then nothing else was read
	Auth      bool          // is on
	Now       time.Time     // by the clock here

	Snapshot *inspect.Snapshot        // nil: it could not be read,
	Denied   error                    // for this reason
	Left     map[string]time.Duration // by lease in hex, of those of the first entries of lines; negative: the lease is gone
}

// Member is one endpoint.
type Member struct {
	Endpoint string
	Err      error // it does not answer
	Version  string
	Leader   bool
	HasOne   bool // it knows of a leader
	Learner  bool
	Applied  uint64 // raft index
	Size     int64  // bytes of the database in use
	Quota    int64  // 0: not told
	Errors   []string
}

// Finding is one thing that is wrong.
type Finding struct {
	Fails bool   `json:"fails"` // something does not work; else it may not, one day
	What  string `json:"what"`
	Do    string `json:"do"` // what to do about it
}

// Limits beyond which something is said.
const (
	behind     = 5000      // entries of the log that a member has not applied
	fullAt     = 80        // percent of the quota
	historyOf  = 1_000_000 // revisions that are not compacted
	slowRead   = 500 * time.Millisecond
	longWait   = 10 * time.Minute
	clockApart = 5 * time.Second
	manyKeys   = 100 // on one lease, with auth
	mostLines  = 20  // are named
)

// Examine says what is wrong, the worst first.
func Examine(f Facts) []Finding {
	var all []Finding
	say := func(fails bool, do string, format string, args ...any) {
		all = append(all, Finding{fails, fmt.Sprintf(format, args...), do})
	}
	members(f, say)
	cluster(f, say)
	switch {
	case f.Denied != nil:
		say(true, "give the user's role read on the namespace, see docs/operating.md", "what stands there cannot be read: %v", f.Denied)
	case f.Snapshot != nil:
		lines(f, say)
		sessions(f, say)
	}
	slices.SortStableFunc(all, func(a, b Finding) int {
		return cmp.Compare(map[bool]int{true: 0, false: 1}[a.Fails], map[bool]int{true: 0, false: 1}[b.Fails])
	})
	return all
}

type say = func(fails bool, do string, format string, args ...any)

func members(f Facts, say say) {
	var top uint64
	versions := map[string]bool{}
	for _, m := range f.Members {
		top = max(top, m.Applied)
		if m.Err == nil {
			versions[m.Version] = true
		}
	}
	for _, m := range f.Members {
		if m.Err != nil {
			say(true, "start it, or take it out of --endpoints", "%s does not answer: %v", m.Endpoint, m.Err)
			continue
		}
		if !m.HasOne {
			say(true, "start the other members: without a majority nothing is granted", "%s knows of no leader", m.Endpoint)
		}
		if top-m.Applied > behind {
			say(false, "look at its disk and its network; it answers serializable reads with what is old", "%s is %d entries behind", m.Endpoint, top-m.Applied)
		}
		if m.Quota > 0 && m.Size*100 > m.Quota*fullAt {
			say(false, "compact and defragment, or raise --quota-backend-bytes: at the quota nothing new is granted", "%s has used %d %% of its quota of %d bytes",
				m.Endpoint, m.Size*100/m.Quota, m.Quota)
		}
		for _, text := range m.Errors {
			say(true, "look at its log", "%s reports: %s", m.Endpoint, text)
		}
		for _, fault := range faultsOf(m.Version) {
			say(false, "update etcd", "%s runs etcd %s: %s", m.Endpoint, m.Version, fault)
		}
	}
	if len(versions) > 1 {
		say(false, "finish the update", "members run different versions of etcd")
	}
}

// Reached says whether any member has answered.
func (f Facts) Reached() bool {
	return slices.ContainsFunc(f.Members, func(m Member) bool { return m.Err == nil })
}

func cluster(f Facts, say say) {
	if f.NoQuorum != nil {
		say(true, "start the other members: without a majority nothing is granted, and nothing given back", "the quorum does not answer: %v", f.NoQuorum)
	}
	for _, alarm := range f.Alarms {
		say(true, "docs/operating.md, Sizing; then etcdctl alarm disarm", "alarm: %s", alarm)
	}
	if n := f.Revision - f.Compacted; n > historyOf {
		say(false, "turn on --auto-compaction-mode", "etcd keeps a history of %d revisions: its database grows, and reads get slower", n)
	}
	if f.Slowest > slowRead {
		say(false, "look at etcd's disk (etcd_disk_wal_fsync_duration_seconds); a session needs its renewals within a third of its TTL",
			"a read of the quorum took %v", f.Slowest.Round(time.Millisecond))
	}
}

func lines(f Facts, say say) {
	named := 0
	perLease := map[string]int{}
	for _, l := range f.Snapshot.Lines {
		waiting := 0
		for i := range l.Entries {
			e := &l.Entries[i]
			perLease[e.Lease]++
			if e.State == inspect.Waits {
				waiting++
			}
		}
		if len(l.Entries) == 0 || l.Kind == inspect.Gate || l.Kind == inspect.Latch || l.Kind == inspect.Barrier {
			continue
		}
		first := &l.Entries[0]
		what := fmt.Sprintf("%s %q", l.Kind, l.Name)
		var fails bool
		var text, do string
		left, asked := f.Left[first.Lease]
		switch since := first.Since(); {
		case l.Kind == inspect.Strange:
			text, do = fmt.Sprintf("%d keys in the namespace are in no line, %s among them", len(l.Entries), first.Key), "move them out, or delete them"
		case first.Lease == "":
			fails, text = true, what+": its first entry has no lease, and stays until somebody deletes it"
			do = "if nobody is at work under it: etcdctl del " + first.Key
		case asked && left < 0:
			text, do = what+": the lease of its first entry is gone, and the entry is not", "wait for a moment; if it stays, etcd's leader is behind: look at its log"
		case waiting > 0 && !since.IsZero() && f.Now.Sub(since) > longWait:
			text = fmt.Sprintf("%s: %s has held it for %v, and %d wait", what, first.Who(), f.Now.Sub(since).Round(time.Second), waiting)
			do = "docs/operating.md, A lock is stuck"
		case waiting > 0 && first.State == inspect.Waits:
			text, do = what+": everybody waits, and nobody holds", "look again; those of several locks wait for the others (fenceline ls)"
		default:
			continue
		}
		if named++; named <= mostLines {
			say(fails, do, "%s", text)
		}
	}
	if named > mostLines {
		say(false, "end these first", "%d more lines are in trouble", named-mostLines)
	}
	for _, d := range f.Snapshot.Deadlocks() {
		kind := "deadlock"
		if d.Possible {
			kind = "possible deadlock"
		}
		var who []string
		for _, w := range d.Waits {
			who = append(who, fmt.Sprintf("%s for %s %q", w.Who, w.Kind, w.Name))
		}
		say(!d.Possible, "fenceline deadlocks; then end one of them", "%s: %s", kind, strings.Join(who, ", "))
	}
	for lease, n := range perLease {
		if f.Auth && lease != "" && n > manyKeys {
			say(false, "use another user than one that is not root, or fewer holds in a session: etcd checks every key of a lease at each put", "%d keys hang on lease %s", n, lease)
		}
	}
}

func sessions(f Facts, say say) {
	watched, not := map[string]bool{}, map[string]int{} // by host
	for _, s := range f.Snapshot.Sessions {
		if s.Witness != "" {
			watched[s.Host] = true
		} else {
			not[s.Host]++
		}
	}
	for _, host := range slices.Sorted(maps.Keys(watched)) {
		if n := not[host]; n > 0 {
			say(false, "start them with FENCELINE_WITNESS, as the others there: else what they hold is free after the TTL only when they are killed", "%d sessions on host %s have no witness", n, host)
		}
	}
	for _, s := range f.Snapshot.Sessions {
		if ahead := s.Started.Sub(f.Now); ahead > clockApart {
			say(false, "set the clocks: cron goes by them, and so do the times that ls shows", "the clock of %s pid %d is ahead of the one here by %v or more", cmp.Or(s.Host, s.Name), s.PID,
				ahead.Round(time.Second))
		}
	}
}
