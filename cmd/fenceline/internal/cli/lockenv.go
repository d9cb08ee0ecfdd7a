package cli

import (
	"os"
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

// environment is base with what the command is told about the lock. Looking at the token exposes the entry.
func (r *lockRun) environment(base []string) []string {
	set := []string{
		"FENCELINE_LOCK_NAME=" + r.name,
		"FENCELINE_TOKEN=" + r.lock.Token().String(),
		keyVariable + "=" + r.lock.Key(),
		"FENCELINE_LEASE=" + keyspace.Lease(r.lock.Lease()),
		"FENCELINE_ENDPOINTS=" + strings.Join(r.client.Endpoints(), ","),
		entryVariable + "=" + r.lock.Key(),
		"ETCD_LOCK_REV=" + r.lock.Token().String(),
	}
	if file := os.Getenv(keyVariable); file != "" {
		set = append(set, "ETCDCTL_KEY="+file) // where fenceline looks next
	}
	if os.Getenv("FENCELINE_DISCOVERY_SRV") != "" {
		set = append(set, "FENCELINE_DISCOVERY_SRV=") // it would contradict its own answer
	}
	return override(base, set)
}

// override is base without the variables that set sets, and set. Of two values of one name most programs see the first.
func override(base, set []string) []string {
	names := map[string]bool{}
	for _, entry := range set {
		name, _, _ := strings.Cut(entry, "=")
		names[name] = true
	}
	var merged []string
	for _, entry := range base {
		if name, _, _ := strings.Cut(entry, "="); !names[name] {
			merged = append(merged, entry)
		}
	}
	return append(merged, set...)
}
