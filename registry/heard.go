package registry

import (
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/fenceline/fenceline/internal/chance"
)

// heard is what a watch tells of an entry. It is written by the session's watch stream, and read by the loop.
type heard struct {
	r *Registration

	mu      sync.Mutex
	created int64 // what happened up to this revision, nobody has told
	last    int64 // revision of the latest event
	doubted bool  // something may have been missed
	stopped bool
	cancel  func()
}

func listen(r *Registration) *heard {
	h := &heard{r: r}
	h.open()
	return h
}

func (h *heard) open() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.stopped {
		h.cancel = h.r.keeper.Watch().Watch(h.r.key, "", h)
	}
}

func (h *heard) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopped = true
	h.cancel()
}

func (h *heard) note(f func()) {
	h.mu.Lock()
	f()
	h.mu.Unlock()
	h.r.nudge()
}

// Created, Events and Ended are called by the stream.
func (h *heard) Created(revision int64) { h.note(func() { h.created = revision }) }

func (h *heard) Events(events []*mvccpb.Event) {
	h.note(func() { h.last = events[len(events)-1].Kv.ModRevision })
}

// Ended opens the watch again, after a while: the end of a watch is no answer.
func (h *heard) Ended(error) {
	h.note(func() { h.doubted = true })
	time.AfterFunc(time.Second/2+chance.N(time.Second), h.open)
}

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
