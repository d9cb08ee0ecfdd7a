package cli

import (
	"fmt"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/fenceline/fenceline/internal/keyspace"
)

// The keys of a semaphore in its line: the limit, and a folder of entries. A barrier has such a folder, too, and the
// record of its rounds.
const (
	semaphoreLimit = "limit"
	semaphoreLine  = "line/"
	barrierIn      = "in/"
	barrierRound   = "round"
	latchTally     = "tally"
)

// unitsIn reads a number of units. An entry that does not say counts as one.
func unitsIn(value []byte) int64 {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || n < 1 {
		return 1
	}
	return n
}

// limits takes the limits of semaphores out of the keys, which are nobody's entries.
func (f *lsFlags) limits(kvs []*mvccpb.KeyValue) map[string]int64 {
	limits := map[string]int64{}
	for _, kv := range kvs {
		if kind, name, rest := f.place(string(kv.Key)); kind == semaphoreKind && rest == semaphoreLimit {
			limits[name] = unitsIn(kv.Value)
		}
	}
	return limits
}

// isEntry says that a key is one of a line's, and not what a primitive notes beside it.
func isEntry(kind, rest string) bool {
	switch kind {
	case semaphoreKind:
		return rest != semaphoreLimit
	case barrierKind:
		return rest != barrierRound
	case latchKind: // its count stands for it
		return rest == latchTally
	}
	return true
}

// weigh reads the units of an entry of a semaphore. It answers what follows the line's prefix in other lines.
func (l *line) weigh(e *entry, rest string) string {
	switch l.Kind {
	case semaphoreKind:
		e.Units = unitsIn([]byte(e.Value))
		return strings.TrimPrefix(strings.TrimPrefix(rest, semaphoreLine), keyspace.Large)
	case barrierKind:
		return strings.TrimPrefix(rest, barrierIn)
	}
	return rest
}

// judgeUnits says who holds: from the front, as long as the units fit. Without a limit nobody can tell.
func (l *line) judgeUnits() {
	if l.Limit == 0 {
		return
	}
	var sum int64
	for i := range l.Entries {
		e := &l.Entries[i]
		if sum += e.Units; sum > l.Limit {
			e.State = stateWaits
		} else {
			e.State = stateHolds
		}
	}
}

// share is what an entry has or wants of a semaphore, in words.
func (l *line) share(e *entry) string {
	switch {
	case e.Units == 0:
		return ""
	case l.Limit == 0:
		return strconv.FormatInt(e.Units, 10)
	}
	return fmt.Sprintf("%d of %d", e.Units, l.Limit)
}
