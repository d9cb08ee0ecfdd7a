package cli

import (
	"encoding/json"
	"fmt"
	"strconv"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/fenceline/fenceline/session"
)

// What parties of a barrier, gates and latches may be.
const (
	stateInside = "inside"
	stateClosed = "closed"
	stateOpen   = "open"
)

// rounds reads which entries belong to rounds of barriers that were full: see package barrier, whose record this is.
func (f *lsFlags) rounds(kvs []*mvccpb.KeyValue) map[string]map[int64]bool {
	rounds := map[string]map[int64]bool{}
	for _, kv := range kvs {
		kind, name, rest := f.place(string(kv.Key))
		var record struct {
			Here, Broken bool
			Rounds       []struct{ In []int64 }
		}
		if kind != barrierKind || rest != barrierRound || json.Unmarshal(kv.Value, &record) != nil {
			continue
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
		rounds[name] = inside
	}
	return rounds
}

func (l *line) judgeParties() {
	for i := range l.Entries {
		e := &l.Entries[i]
		e.State = stateWaits
		if l.inside[e.Revision] {
			e.State = stateInside
		}
	}
}

// shut says what a gate or a latch is, which are keys without a lease: the one there while it is closed, and with who has
// closed it; the other with a number, and written once for each count-down.
func (l *line) shut(e *entry) {
	if l.Kind == latchKind {
		e.nobodys = true
		count, err := strconv.ParseInt(e.Value, 10, 64)
		switch left := count - e.version; {
		case err != nil:
		case left <= 0:
			e.State = stateOpen
		default:
			e.State = fmt.Sprintf("%d of %d left", left, count)
		}
		return
	}
	e.State = stateClosed
	record := new(session.Record)
	if json.Unmarshal([]byte(e.Value), record) == nil {
		e.Session, e.Value = record, ""
	}
}
