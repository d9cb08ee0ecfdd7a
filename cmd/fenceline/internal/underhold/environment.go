package underhold

import (
	"os"
	"strconv"
	"strings"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/fence"
)

// ownerVariable is for whom a command holds: see session.WithOwner. Commands that it runs hold for the same.
const ownerVariable = "FENCELINE_OWNER"

// holdVariables are all that any command is told of its hold: those of an outer hold must not be taken for the inner's.
var holdVariables = []string{
	"FENCELINE_TOKEN", "FENCELINE_LEASE", "FENCELINE_LOCK_NAME", "FENCELINE_LOCK_NAMES", "FENCELINE_KEYS",
	"FENCELINE_ELECTION_NAME", "FENCELINE_VALUE", "FENCELINE_SEMAPHORE_NAME", "FENCELINE_UNITS", "FENCELINE_JOB", "FENCELINE_SCHEDULED", "FENCELINE_ATTEMPT",
	app.EntryVariable, "ETCD_LOCK_REV",
}

// Environment is what a command is told of its hold, beside what this process was told of other things.
func (h *Holder) Environment(set ...string) []string {
	set = append(set, "FENCELINE_ENDPOINTS="+strings.Join(h.Client.Endpoints(), ","), ownerVariable+"="+h.owner)
	if os.Getenv("FENCELINE_DISCOVERY_SRV") != "" {
		set = append(set, "FENCELINE_DISCOVERY_SRV=") // it would contradict its own answer
	}
	return app.Override(app.Override(app.Without(os.Environ(), holdVariables...), h.G.Connection.HandOn()), set)
}

// EntryVariables name the one entry of a hold.
func EntryVariables(key string, token fence.Token) []string {
	var set []string
	if file := os.Getenv(app.KeyVariable); file != "" {
		set = append(set, "ETCDCTL_KEY="+file) // where fenceline looks next
	}
	return append(set, app.KeyVariable+"="+key, app.EntryVariable+"="+key, "ETCD_LOCK_REV="+strconv.FormatInt(token.Revision(), 10))
}
