package adapt

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// ReleaseTimeout is how long an unlock waits for etcd's answer. Without one by then, its error says that the release
// goes on in the background.
const ReleaseTimeout = 5 * time.Second

// release gives l back although ctx may have ended: what these libraries pass is often the ctx of the work, cancelled
// at shutdown.
func release(ctx context.Context, l *lock.Lock) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ReleaseTimeout)
	defer cancel()
	return l.Release(ctx)
}

// ended says whether the hold is over, by the clock too.
func ended(l *lock.Lock) bool { return l.Deadline().IsZero() }

// holds keeps the handles for interfaces that unlock by name. At most one of a name stands. The others were lost, and
// whoever took them has yet to unlock.
type holds struct {
	mu sync.Mutex
	of map[string][]*lock.Lock
}

func (h *holds) put(name string, l *lock.Lock) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of == nil {
		h.of = make(map[string][]*lock.Lock)
	}
	h.of[name] = append(h.of[name], l)
}

// release releases one hold of that name. Nobody says which of several: the caller may be the one that lost its hold,
// and must not end the hold of who came after. So lost ones go first, and the one that stands goes with the last
// unlock.
func (h *holds) release(ctx context.Context, name string) error {
	h.mu.Lock()
	own := h.of[name]
	if len(own) == 0 {
		h.mu.Unlock()
		return fmt.Errorf("adapt: unlock %q: %w", name, session.ErrNotHeld)
	}
	at := lostOf(own)
	if at < 0 {
		at = 0
	}
	l := own[at]
	if len(own) == 1 {
		delete(h.of, name)
	} else {
		h.of[name] = append(own[:at:at], own[at+1:]...)
	}
	h.mu.Unlock()
	return release(ctx, l)
}

// stands says whether a hold of that name is known, and whether one of them has not ended.
func (h *holds) stands(name string) (known, standing bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.of[name] {
		if !ended(l) {
			return true, true
		}
	}
	return len(h.of[name]) > 0, false
}

// replace puts l in the place of a hold that was lost; it returns false if there is none.
func (h *holds) replace(name string, l *lock.Lock) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	own := h.of[name]
	at := lostOf(own)
	if at < 0 {
		return false
	}
	own[at] = l
	return true
}

func lostOf(own []*lock.Lock) int {
	for i, l := range own {
		if ended(l) {
			return i
		}
	}
	return -1
}
