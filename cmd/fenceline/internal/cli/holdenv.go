package cli

import (
	"os"
	"strconv"
	"strings"

	"github.com/fenceline/fenceline/fence"
)

// ownerVariable is for whom a command holds: see session.WithOwner. Commands that it runs hold for the same.
const ownerVariable = "FENCELINE_OWNER"

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
