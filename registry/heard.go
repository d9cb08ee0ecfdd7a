package registry

import (
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/fenceline/fenceline/internal/mirror"
)

// heard is what a watch tells of an entry. The session's watch stream writes it, and the loop reads it. It lists nothing: a thousand
// registrations would cost a thousand reads, and each knows as of which revision it has put its entry.
type heard struct {
	r    *Registration
	stop func()

	mu      sync.Mutex
	created int64 // what happened up to this revision, nobody has told
	last    int64 // revision of the latest event
	doubted bool  // something may have been missed
}

func listen(r *Registration) *heard {
	h := &heard{r: r}
	h.stop = mirror.Listen(r.keeper, r.key, h).Stop
	return h
}

func (h *heard) note(f func()) {
	h.mu.Lock()
	f()
	h.mu.Unlock()
	h.r.nudge()
}

// Load, Apply and Trouble are called by the follower.
func (h *heard) Load(revision int64, _ []*mvccpb.KeyValue) {
	h.note(func() { h.created, h.doubted = revision, h.doubted || revision == 0 })
}

func (h *heard) Apply(events []*mvccpb.Event) {
	h.note(func() { h.last = events[len(events)-1].Kv.ModRevision })
}

func (h *heard) Trouble(error) { h.doubt() }

func (h *heard) doubt() { h.note(func() { h.doubted = true }) }

// news says whether the entry may not be what it was at mod.
func (h *heard) news(mod int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.doubted || h.created > mod || h.last > mod
}

// knows takes note of a read as of revision.
func (h *heard) knows(revision int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.doubted = false
	if h.created <= revision {
		h.created = 0
	}
	if h.last <= revision {
		h.last = 0
	}
}
