package election

import (
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/internal/line"
)

// rule is a mutex's, but for those who step aside while they wait.
func (e *Election) rule(value string) line.Rule {
	r := line.Nobody
	r.Value, r.Suffix, r.Whole = value, keyspace.PrioritySuffix(e.opts.priority), true
	named := false // once the leader has named us, we do not step aside any more
	r.Yields = func(entries []line.Entry, mine line.Entry) bool {
		if to, ok := transfer(e.prefix, entries); ok {
			named = named || to.Key == mine.Key
			return mine.Create < to.Create
		}
		return !named && outranked(e.prefix, entries, mine)
	}
	return r
}

// transfer is the candidate whom the leader has named to be next, if it stands.
func transfer(prefix string, entries []line.Entry) (line.Entry, bool) {
	for _, e := range entries {
		to, ok := keyspace.Transferred(prefix, e.Key)
		if !ok {
			continue
		}
		for _, candidate := range entries {
			if candidate.Key == to && candidate.Create < e.Create { // and not another of that key, later
				return candidate, true
			}
		}
	}
	return line.Entry{}, false
}

// outranked says whether somebody behind mine has a larger priority.
func outranked(prefix string, entries []line.Entry, mine line.Entry) bool {
	priority := keyspace.Priority(mine.Key)
	for _, e := range entries {
		if _, isTransfer := keyspace.Transferred(prefix, e.Key); !isTransfer && e.Create > mine.Create && keyspace.Priority(e.Key) > priority {
			return true
		}
	}
	return false
}

// next is who leads after leader: the first of those behind it. The entries are in any order.
func next(prefix string, entries []line.Entry, leader line.Entry) (line.Entry, bool) {
	var first line.Entry
	for _, e := range entries {
		if _, isTransfer := keyspace.Transferred(prefix, e.Key); isTransfer || e.Create <= leader.Create {
			continue
		}
		if first.Key == "" || e.Create < first.Create {
			first = e
		}
	}
	return first, first.Key != ""
}
