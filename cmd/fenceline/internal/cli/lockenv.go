package cli

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// FENCELINE_KEY is two things: the file with the client's key, as --key, and in a command under a lock the key of its
// entry, which ETCD_LOCK_KEY repeats. That tells them apart, and lets such a command run fenceline in its turn.
const (
	keyVariable   = "FENCELINE_KEY"
	entryVariable = "ETCD_LOCK_KEY"
)

// ownerVariable is for whom a command holds: see session.WithOwner. Commands that it runs hold for the same.
const ownerVariable = "FENCELINE_OWNER"

// forgetOuterHold keeps the entry of a lock that this process runs under from being taken for --key.
func forgetOuterHold() {
	if entry := os.Getenv(entryVariable); entry != "" && entry == os.Getenv(keyVariable) {
		os.Unsetenv(keyVariable)
	}
}

// holdVariables are all that any command is told of its hold: those of an outer hold must not be taken for the inner's.
var holdVariables = []string{
	"FENCELINE_TOKEN", "FENCELINE_LEASE", "FENCELINE_LOCK_NAME", "FENCELINE_LOCK_NAMES", "FENCELINE_KEYS",
	"FENCELINE_ELECTION_NAME", "FENCELINE_VALUE", "FENCELINE_SEMAPHORE_NAME", "FENCELINE_UNITS", "FENCELINE_JOB", "FENCELINE_SCHEDULED", "FENCELINE_ATTEMPT",
	entryVariable, "ETCD_LOCK_REV",
}

// environment is what a command is told of its hold, beside what this process was told of other things.
func (h *holder) environment(set ...string) []string {
	set = append(set, "FENCELINE_ENDPOINTS="+strings.Join(h.client.Endpoints(), ","), ownerVariable+"="+h.owner)
	if os.Getenv("FENCELINE_DISCOVERY_SRV") != "" {
		set = append(set, "FENCELINE_DISCOVERY_SRV=") // it would contradict its own answer
	}
	return override(override(without(os.Environ(), holdVariables...), h.g.connection.handOn()), set)
}

// entryVariables name the one entry of a hold.
func entryVariables(key string, token fence.Token) []string {
	var set []string
	if file := os.Getenv(keyVariable); file != "" {
		set = append(set, "ETCDCTL_KEY="+file) // where fenceline looks next
	}
	return append(set, keyVariable+"="+key, entryVariable+"="+key, "ETCD_LOCK_REV="+strconv.FormatInt(token.Revision(), 10))
}

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
	return append(append(set, "FENCELINE_LOCK_NAME="+r.names[0]), entryVariables(first.Key(), token)...)
}

// override is base without the variables that set sets, and set. Of two values of one name most programs see the first.
func override(base, set []string) []string {
	var names []string
	for _, entry := range set {
		name, _, _ := strings.Cut(entry, "=")
		names = append(names, name)
	}
	return append(without(base, names...), set...)
}

func without(base []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(base), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(names, name)
	})
}
