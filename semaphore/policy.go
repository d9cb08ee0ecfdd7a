package semaphore

import (
	"slices"
	"strconv"
	"strings"

	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/internal/queue"
)

// The limit stands beside the entries, under the prefix of the line: whoever watches the line hears of a Resize.
const limitKey = "limit"

// The entries stand below lineDir, those of more than one unit with a mark: so whoever finds few of these can count the others.
const lineDir = "line/"

func mark(n int64) string {
	if n > 1 {
		return keyspace.Large
	}
	return ""
}

func isLimit(key string) bool { return strings.HasSuffix(key, "/"+limitKey) }

// units of an entry. One that does not say counts as one.
func units(value []byte) int64 {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || n < 1 {
		return 1
	}
	return n
}

// sum is how many units these entries hold or wait for.
func sum(entries []queue.Entry) int64 {
	var n int64
	for _, e := range entries {
		if !isLimit(e.Key) {
			n += units(e.Value)
		}
	}
	return n
}

// blocker is queue.Policy's: the last of those ahead, if they leave no room for n more units.
func blocker(ahead []queue.Entry, n, limit int64) int {
	last := -1
	for i, e := range ahead {
		if !isLimit(e.Key) {
			last = i
		}
	}
	switch {
	case last >= 0 && sum(ahead)+n > limit:
		return last
	case n > limit && len(ahead) > 0: // it has shrunk; see lane.refuse
		return len(ahead) - 1
	}
	return -1
}

// alone is queue.Policy's: whether the last of those ahead leaves no room for n more units by itself.
func alone(ahead []queue.Entry, n, limit int64) bool {
	for _, e := range slices.Backward(ahead) {
		if !isLimit(e.Key) {
			return units(e.Value)+n > limit
		}
	}
	return false
}

// in is queue.Policy's: how many of the line, from the front, fit into the limit.
func in(entries []queue.Entry, limit int64) int {
	var held int64
	for i, e := range entries {
		if isLimit(e.Key) {
			continue
		}
		if held += units(e.Value); held > limit {
			return i
		}
	}
	return len(entries)
}
