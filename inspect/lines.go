package inspect

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/internal/queue"
	"github.com/fenceline/fenceline/internal/since"
	"github.com/fenceline/fenceline/session"
)

// policies say how many of a line have entered, where the entries tell. In a line under a raw prefix, locks of all kinds
// may stand.
var policies = map[string]queue.Policy{Lock: queue.Mutex, Election: queue.Mutex, RWLock: queue.Reader, Prefix: queue.Reader}

// The keys of a semaphore in its line: the limit, and a folder of entries. A barrier has such a folder, too, and the
// record of its rounds.
const (
	semaphoreLimit = "limit"
	semaphoreLine  = "line/"
	barrierIn      = "in/"
	barrierRound   = "round"
	latchTally     = "tally"
	cronKind       = "cron"
)

// snapshot sorts keys into lines, and each line by create revision, which is the order that counts.
func (o *options) snapshot(revision int64, kvs []*mvccpb.KeyValue) *Snapshot {
	s := &Snapshot{Revision: revision, Lines: []*Line{}, limits: map[string]int64{}, read: time.Now()} // in JSON, none is not null
	records, notes, rounds := map[clientv3.LeaseID]*session.Record{}, map[int64]since.Note{}, map[string]map[int64]bool{}
	var entries []*mvccpb.KeyValue
	for _, kv := range kvs {
		if lease, ok := o.sessionOf(string(kv.Key)); ok {
			record := new(session.Record)
			if json.Unmarshal(kv.Value, record) == nil { // else it is nobody's
				records[lease] = record
				if record.Of != "" {
					continue // tellSessions counts it for the first
				}
				s.Sessions = append(s.Sessions, &Session{Record: *record, Lease: keyspace.Lease(lease)})
			}
			continue
		}
		var n since.Note
		if strings.HasPrefix(string(kv.Key), keyspace.Notes(o.namespace)) && json.Unmarshal(kv.Value, &n) == nil {
			notes[n.Revision] = n
			continue
		}
		kind, name, rest := o.place(string(kv.Key))
		switch {
		case strings.HasPrefix(string(kv.Key), keyspace.BrokenHolds(o.namespace)), strings.HasPrefix(string(kv.Key), keyspace.Requests(o.namespace)): // see Break and Ask
		case kind == Semaphore && rest == semaphoreLimit:
			s.limits[name] = unitsIn(kv.Value)
		case kind == Barrier && rest == barrierRound:
			rounds[name] = insideOf(kv)
		case isEntry(kind, rest):
			entries = append(entries, kv)
		}
	}
	slices.SortStableFunc(entries, func(a, b *mvccpb.KeyValue) int { return cmp.Compare(a.CreateRevision, b.CreateRevision) })
	byName := map[[2]string]*Line{}
	for _, kv := range entries {
		kind, name, rest := o.place(string(kv.Key))
		l, found := byName[[2]string{kind, name}]
		if !found {
			l = &Line{Kind: kind, Name: name}
			switch kind {
			case Semaphore:
				l.Limit = s.limits[name]
			case Barrier:
				l.inside = rounds[name]
			}
			s.Lines, byName[[2]string{kind, name}] = append(s.Lines, l), l
		}
		l.add(kv, rest, records, notes)
	}
	for _, l := range s.Lines {
		l.judge()
	}
	together(s.Lines)
	slices.SortStableFunc(s.Lines, func(a, b *Line) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	s.tellSessions(records)
	return s
}

// tellSessions says of each session what it holds and waits for.
func (s *Snapshot) tellSessions(records map[clientv3.LeaseID]*session.Record) {
	byLease := map[string]*Session{}
	for _, one := range s.Sessions {
		byLease[one.Lease] = one
	}
	for lease, record := range records {
		if first := byLease[record.Of]; record.Of != "" && first != nil {
			byLease[keyspace.Lease(lease)] = first
			first.More++
		}
	}
	for _, l := range s.Lines {
		for i := range l.Entries {
			e := &l.Entries[i]
			one := byLease[keyspace.Lease(e.owner)]
			what := l.Kind + " " + l.Name
			switch {
			case one == nil:
			case e.State == Waits:
				one.Waits = append(one.Waits, what)
			case e.State == Holds || e.State == Inside:
				one.Holds = append(one.Holds, what)
			}
		}
	}
	sortSessions(s.Sessions)
}

// sessionOf reads the key of a session's record.
func (o *options) sessionOf(key string) (lease clientv3.LeaseID, ok bool) {
	rest, ok := strings.CutPrefix(key, o.sessions())
	if !ok {
		return 0, false
	}
	lease, _, ok = keyspace.ParseEntry(rest)
	return lease, ok
}

// place says in which line a key stands, and what follows the line's prefix.
func (o *options) place(key string) (kind, name, rest string) {
	if rest, ok := strings.CutPrefix(key, o.prefix+"/"); ok && o.prefix != "" {
		return Prefix, o.prefix, rest
	}
	parts := strings.SplitN(strings.TrimPrefix(key, o.namespace), "/", 3)
	if len(parts) < 3 || parts[0] == "" || parts[0] == "session" || parts[1] == "" {
		return Strange, "", key
	}
	return parts[0], keyspace.Unescape(parts[1]), parts[2]
}

// isEntry says that a key is one of a line's, and not what a primitive notes beside it: a leader's mark of who is to lead next, what cron
// knows of a job, and who has counted at a latch.
func isEntry(kind, rest string) bool {
	to, isMark := keyspace.Transferred("", rest)
	switch kind {
	case Election:
		return !isMark
	case Prefix: // anybody's key may be named so
		_, _, own := keyspace.ParseEntry(to)
		return !isMark || !own
	case cronKind:
		return false
	case Latch: // its count stands for it
		return rest == latchTally
	}
	return true
}

// unitsIn reads a number of units. An entry that does not say counts as one.
func unitsIn(value []byte) int64 {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || n < 1 {
		return 1
	}
	return n
}

func (l *Line) add(kv *mvccpb.KeyValue, rest string, records map[clientv3.LeaseID]*session.Record, notes map[int64]since.Note) {
	e := Entry{
		Position: len(l.Entries) + 1,
		Token:    fence.TokenAt(kv.CreateRevision, 0),
		Revision: kv.CreateRevision,
		Key:      string(kv.Key),
		Value:    string(kv.Value),
		lease:    clientv3.LeaseID(kv.Lease),
		version:  kv.Version,
	}
	if n, ok := notes[e.Revision]; ok {
		e.Waits, e.Holds, e.Owner = n.Waits, n.Holds, n.Owner
	}
	if kv.Lease != 0 {
		e.Lease = keyspace.Lease(e.lease)
	}
	of, _, own := keyspace.ParseEntry(l.weigh(&e, rest))
	if !own {
		of = e.lease
	}
	e.owner = of
	e.foreign, e.parked = !own, own && e.lease != 0 && e.lease != of
	e.Session = records[of]
	if l.Kind == Gate || l.Kind == Latch {
		l.shut(&e)
	}
	if own && (l.Kind == Election || l.Kind == Prefix) {
		e.Priority = keyspace.Priority(e.Key)
	}
	switch said := e.Value == queue.ReadValue || e.Value == queue.WriteValue; {
	case l.Kind == RWLock && !said:
		e.Mode = queue.WriteValue
	case l.Kind == RWLock, l.Kind == Prefix && said:
		e.Mode = e.Value
	}
	l.Entries = append(l.Entries, e)
}

// weigh reads the units of an entry of a semaphore. It returns what follows the line's prefix in other lines.
func (l *Line) weigh(e *Entry, rest string) string {
	switch l.Kind {
	case Semaphore:
		e.Units = unitsIn([]byte(e.Value))
		return strings.TrimPrefix(strings.TrimPrefix(rest, semaphoreLine), keyspace.Large)
	case Barrier:
		return strings.TrimPrefix(rest, barrierIn)
	}
	return rest
}

// judge says who holds and who waits.
func (l *Line) judge() {
	in := l.entered(func(int) bool { return true })
	for i := range l.Entries {
		e := &l.Entries[i]
		switch {
		case l.Kind == Barrier && l.inside[e.Revision]:
			e.State = Inside
		case l.Kind == Barrier:
			e.State = Waits
		case in == nil:
		case !in[i]:
			e.State = Waits
		case e.parked && l.Kind != Semaphore:
			e.State = Released
		default:
			e.State = Holds
		}
	}
}

// entered says which of the entries that count have entered; nil: of this kind, or without a limit, nobody can tell.
func (l *Line) entered(counts func(i int) bool) []bool {
	var entries []queue.Entry
	var at []int
	for i, e := range l.Entries {
		if counts(i) {
			entries, at = append(entries, queue.Entry{Key: e.Key, Create: e.Revision, Value: []byte(e.Value)}), append(at, i)
		}
	}
	n := 0
	policy, ok := policies[l.Kind]
	switch {
	case ok:
		n = policy.Entered(entries)
	case l.Kind == Semaphore && l.Limit > 0: // from the front, as long as the units fit
		for sum := int64(0); n < len(at); n++ {
			if sum += l.Entries[at[n]].Units; sum > l.Limit {
				break
			}
		}
	default:
		return nil
	}
	in := make([]bool, len(l.Entries))
	for _, i := range at[:n] {
		in[i] = true
	}
	return in
}

// together says of the entries of a set that they wait as long as one of them does: who holds some of its locks and
// waits for the rest does not run. Entries of one revision came in one transaction.
func together(lines []*Line) {
	waits := map[int64]bool{}
	for _, l := range lines {
		for _, e := range l.Entries {
			if l.Kind == Lock && e.State == Waits {
				waits[e.Revision] = true
			}
		}
	}
	for _, l := range lines {
		for i := range l.Entries {
			if e := &l.Entries[i]; l.Kind == Lock && waits[e.Revision] {
				e.State = Waits
			}
		}
	}
}

// insideOf reads which entries belong to rounds of a barrier that were full: see package barrier, whose record this is.
func insideOf(kv *mvccpb.KeyValue) map[int64]bool {
	var record struct {
		Here, Broken bool
		Rounds       []struct{ In []int64 }
	}
	if json.Unmarshal(kv.Value, &record) != nil {
		return nil
	}
	inside := map[int64]bool{}
	for _, round := range record.Rounds {
		for _, create := range round.In {
			inside[create] = true
		}
	}
	if record.Here && !record.Broken { // one came with the record, whose revision that one could not know
		inside[kv.ModRevision] = true
	}
	return inside
}

// shut says what a gate or a latch is, which are keys without a lease: the one there while it is closed, and with who has
// closed it; the other with a number, and written once for each count-down.
func (l *Line) shut(e *Entry) {
	if l.Kind == Latch {
		e.nobodys = true
		count, err := strconv.ParseInt(e.Value, 10, 64)
		switch left := count - e.version; {
		case err != nil:
		case left <= 0:
			e.State = Open
		default:
			e.State = fmt.Sprintf("%d of %d left", left, count)
		}
		return
	}
	e.State = Closed
	record := new(session.Record)
	if json.Unmarshal([]byte(e.Value), record) == nil {
		e.Session, e.Value = record, ""
	}
}
