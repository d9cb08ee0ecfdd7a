package cli

import (
	"strconv"

	"github.com/fenceline/fenceline/internal/keyspace"
)

// isNote says that a key stands beside lines and not in one: a leader's mark of who is to lead next, and what cron
// knows of a job, which "cron ls" shows.
func isNote(kind, rest string) bool {
	to, isMark := keyspace.Transferred("", rest)
	switch kind {
	case electionKind:
		return isMark
	case prefixKind: // anybody's key may be named so
		_, _, own := keyspace.ParseEntry(to)
		return isMark && own
	case cronKind:
		return true
	}
	return false
}

// priorityOf is that of a candidate. Others have none.
func (l *line) priorityOf(key string) int {
	if l.Kind == electionKind || l.Kind == prefixKind {
		return keyspace.Priority(key)
	}
	return 0
}

// priority is it in words.
func (e *entry) priority() string {
	if e.Priority == 0 {
		return ""
	}
	return strconv.Itoa(e.Priority)
}
