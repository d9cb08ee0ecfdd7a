package lock

import (
	"strings"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/underhold"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// variables say what the command's lock is. Looking at the keys exposes the entries.
func (r *lockRun) variables() []string {
	var keys []string
	for _, l := range r.locks {
		keys = append(keys, l.Key())
	}
	first := r.locks[0] // of a set, whose entries are of one transaction, and so of one revision
	token := first.Token()
	set := []string{
		"FENCELINE_TOKEN=" + token.String(),
		"FENCELINE_LEASE=" + keyspace.Lease(first.Lease()),
		"FENCELINE_LOCK_NAMES=" + strings.Join(r.names, "\n"), // which hold no control characters
		"FENCELINE_KEYS=" + strings.Join(keys, "\n"),
	}
	if len(r.names) > 1 { // one of several keys would guard nothing
		return set
	}
	return append(append(set, "FENCELINE_LOCK_NAME="+r.names[0]), underhold.EntryVariables(first.Key(), token)...)
}
