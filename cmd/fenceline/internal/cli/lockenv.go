package cli

import (
	"os"
	"slices"
	"strings"

	"github.com/fenceline/fenceline/internal/keyspace"
)

// FENCELINE_KEY is two things: the file with the client's key, as --key, and in a command under a lock the key of its
// entry, which ETCD_LOCK_KEY repeats. That tells them apart, and lets such a command run fenceline in its turn.
const (
	keyVariable   = "FENCELINE_KEY"
	entryVariable = "ETCD_LOCK_KEY"
)

// forgetOuterHold keeps the entry of a lock that this process runs under from being taken for --key.
func forgetOuterHold() {
	if entry := os.Getenv(entryVariable); entry != "" && entry == os.Getenv(keyVariable) {
		os.Unsetenv(keyVariable)
	}
}

// environment is base with what the command is told about the hold. Looking at the token exposes the entry.
func (r *lockRun) environment(base []string) []string {
	var keys []string
	for _, l := range r.locks {
		keys = append(keys, l.Key())
	}
	first := r.locks[0] // of a set, whose entries are of one transaction, and so of one revision
	token := first.Token().String()
	set := []string{
		"FENCELINE_TOKEN=" + token,
		"FENCELINE_LEASE=" + keyspace.Lease(first.Lease()),
		"FENCELINE_ENDPOINTS=" + strings.Join(r.client.Endpoints(), ","),
		"FENCELINE_LOCK_NAMES=" + strings.Join(r.names, "\n"), // which hold no control characters
		"FENCELINE_KEYS=" + strings.Join(keys, "\n"),
	}
	if os.Getenv("FENCELINE_DISCOVERY_SRV") != "" {
		set = append(set, "FENCELINE_DISCOVERY_SRV=") // it would contradict its own answer
	}
	if len(r.names) > 1 { // one of several keys would guard nothing
		return override(without(base, "FENCELINE_LOCK_NAME", entryVariable, "ETCD_LOCK_REV"), set)
	}
	if file := os.Getenv(keyVariable); file != "" {
		set = append(set, "ETCDCTL_KEY="+file) // where fenceline looks next
	}
	return override(base, append(set,
		"FENCELINE_LOCK_NAME="+r.names[0],
		keyVariable+"="+first.Key(),
		entryVariable+"="+first.Key(),
		"ETCD_LOCK_REV="+token,
	))
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
