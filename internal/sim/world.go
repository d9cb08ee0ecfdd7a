package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/fencetest"
	"github.com/fenceline/fenceline/session"
)

// world is what is true, as far as it can be seen from outside the library, and what must be.
type world struct {
	etcd *fencetest.Etcd

	mu         sync.Mutex
	holds      map[string][]*hold         // that stand, by what is held
	highest    map[string]fence.Token     // of all that were granted
	writers    map[string]fence.Token     // of those that exclude others
	ticks      map[string]bool            // that were begun
	rounds     map[string]int             // passes of a barrier's round
	units      map[string]int64           // limit of a semaphore
	taken      []*mvccpb.KeyValue         // entries that somebody deleted or overwrote
	tainted    map[clientv3.LeaseID]bool  // ended by somebody who asked nobody
	crossings  []crossing                 // of gates, by who has waited
	openings   []*crossing                // and by who has opened them
	waiters    map[*waiter]bool           // who waits now
	changed    map[string]time.Duration   // when somebody was granted it, gave it back, or gave up
	latches    map[string]int             // the one of a topic that is counted down
	counted    map[string]map[string]bool // who may have counted a latch down
	backwards  int                        // restores from a backup
	resource   fence.Gate                 // refuses tokens older than one it has seen
	calm       bool                       // nothing goes wrong at all
	counts     map[string]int
	violations []string
}

func newWorld(etcd *fencetest.Etcd) *world {
	w := &world{etcd: etcd, holds: map[string][]*hold{}, highest: map[string]fence.Token{}, writers: map[string]fence.Token{}, ticks: map[string]bool{},
		rounds: map[string]int{}, units: map[string]int64{}, tainted: map[clientv3.LeaseID]bool{},
		waiters: map[*waiter]bool{}, changed: map[string]time.Duration{}, latches: map[string]int{}, counted: map[string]map[string]bool{}, counts: map[string]int{}}
	etcd.OnExpiry(w.ranOut)
	return w
}

// hold is one that somebody was granted, and has not given back. Of permits, terms and runs the lease is the session's at the grant, which
// is theirs unless it was lost that very moment.
type hold struct {
	what  string
	who   string
	ctx   context.Context
	lease clientv3.LeaseID
	token fence.Token // 0: nobody has asked
	units int64       // of a semaphore; 0: all
	read  bool

	untilLeft bool // it stands until its holder says otherwise, or it is lost: nobody else gives it back
	age       int  // restores before the grant

	waited time.Duration // for it; 0: nobody has looked
}

// trusted says whether its holder has no reason to think that it is over.
func (h *hold) trusted() bool {
	return h.ctx.Err() == nil || h.untilLeft && !errors.Is(context.Cause(h.ctx), session.ErrLost)
}

// excludes says whether two holds must not be trusted at once.
func (h *hold) excludes(o *hold) bool { return h.units == 0 && !(h.read && o.read) }

func (w *world) wrong(format string, args ...any) {
	w.violations = append(w.violations, fmt.Sprintf("%.6fs: ", w.etcd.Now().Seconds())+fmt.Sprintf(format, args...))
}

// complain is wrong without the mutex.
func (w *world) complain(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong(format, args...)
}

func (w *world) count(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[what]++
}

// enter is told of each grant, and checks: one writer or readers, units within the limit, tokens in the order of grants.
func (w *world) enter(h *hold) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts["granted"]++
	h.age = w.backwards
	if w.robbed(h) || !h.trusted() {
		w.counts["lost on the way"]++
		if w.calm {
			w.wrong("%s has lost %s in calm: %v", h.who, h.what, context.Cause(h.ctx))
		}
		return
	}
	w.late(h)
	w.changed[h.what] = w.etcd.Now()
	units := h.units
	for _, o := range w.holds[h.what] {
		if w.robbed(o) || !o.trusted() {
			continue
		}
		if h.excludes(o) {
			w.wrong("%s was granted %s, which %s holds", h.who, h.what, o.who)
		}
		units += o.units
	}
	if limit := w.units[h.what]; limit > 0 && units > limit {
		w.wrong("%s was granted %d of %s, of which %d of %d are held", h.who, h.units, h.what, units-h.units, limit)
	}
	if h.token != 0 && h.units == 0 {
		before := w.highest[h.what]
		if h.read {
			before = w.writers[h.what]
		} else {
			w.writers[h.what] = max(w.writers[h.what], h.token)
		}
		if h.token <= before {
			w.wrong("%s was granted %s with token %d, after %d", h.who, h.what, h.token, before)
		}
		w.highest[h.what] = max(w.highest[h.what], h.token)
	}
	w.holds[h.what] = append(w.holds[h.what], h)
}

// leave is told before a hold is given back, or when it is over.
func (w *world) leave(h *hold) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if h.ctx.Err() != nil {
		w.counts["lost"]++
		if w.calm && errors.Is(context.Cause(h.ctx), session.ErrLost) {
			w.wrong("%s has lost %s in calm: %v", h.who, h.what, context.Cause(h.ctx))
		}
	}
	w.changed[h.what] = w.etcd.Now()
	w.holds[h.what] = slices.DeleteFunc(w.holds[h.what], func(o *hold) bool { return o == h })
}

// ranOut is told when etcd is about to take a lease's keys: who holds under it must know by now.
func (w *world) ranOut(lease clientv3.LeaseID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts["ran out"]++
	for what, all := range w.holds {
		for _, h := range all {
			if h.lease == lease && h.trusted() {
				w.violations = append(w.violations, fmt.Sprintf("%s trusts its hold of %s under lease %x, which has run out", h.who, what, int64(lease)))
			}
		}
	}
}

// use has a holder work on a resource that refuses tokens older than one it has seen. Whoever holds is not refused.
func (w *world) use(h *hold) {
	if h.token == 0 || h.read || h.units != 0 {
		return
	}
	w.mu.Lock()
	robbed := w.robbed(h)
	w.mu.Unlock()
	if robbed { // its token may be of a history that is forgotten
		return
	}
	err := w.resource.Do(fmt.Sprintf("%s/%d", h.what, h.age), h.token, func() error { return nil })
	w.mu.Lock()
	defer w.mu.Unlock()
	switch stale := errors.Is(err, fence.ErrStale); {
	case stale && h.trusted() && !w.robbed(h):
		w.wrong("the resource refuses %s, who holds %s with token %d: %v", h.who, h.what, h.token, err)
	case stale:
		w.counts["refused by the resource"]++
	}
}

// restored is told just before etcd is replaced by an earlier one: nobody who holds knows of it, tokens and rounds are used again.
func (w *world) restored(leases []clientv3.LeaseID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.backwards++
	for _, l := range leases {
		w.tainted[l] = true
	}
	for _, all := range w.holds {
		for _, h := range all {
			w.tainted[h.lease] = true
		}
	}
	clear(w.highest)
	clear(w.writers)
	clear(w.rounds)
}

func (w *world) restores() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.backwards
}

func (w *world) taint(lease clientv3.LeaseID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tainted[lease] = true
}

// took is told of an entry before somebody deletes or overwrites it.
func (w *world) took(kv *mvccpb.KeyValue) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.taken = append(w.taken, kv)
}

// robbed says whether somebody has ended a hold without asking its holder, who hears of that late.
func (w *world) robbed(h *hold) bool {
	return w.tainted[h.lease] || slices.ContainsFunc(w.taken, func(kv *mvccpb.KeyValue) bool {
		return clientv3.LeaseID(kv.Lease) == h.lease && strings.Contains(string(kv.Key), "/"+h.what+"/")
	})
}

// tick is told of each run of a job that begins.
func (w *world) tick(job string, at time.Time, attempt int, who string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts["ticks"]++
	id := fmt.Sprintf("%s at %s, attempt %d", job, at.UTC().Format(time.TimeOnly), attempt)
	if w.ticks[id] && w.backwards == 0 {
		w.wrong("%s runs %s, which was begun before", who, id)
	}
	w.ticks[id] = true
}

// pass is told of each pass of a barrier.
func (w *world) pass(name string, round int64, parties int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts["passes"]++
	id := fmt.Sprintf("%s, round %d", name, round)
	if w.backwards > 0 { // some that pass now were in before
		parties *= 2
	}
	if w.rounds[id]++; w.rounds[id] > parties {
		w.wrong("%d have passed %s, of %d", w.rounds[id], id, parties)
	}
}

// guarded is where a holder writes, by transactions that its guard protects.
const guarded = "resource/"

// checkWrites looks at all that was written with guards: a token is never followed by a smaller one.
func (w *world) checkWrites() {
	last, revision := map[string]int64{}, int64(0)
	for _, ev := range w.etcd.Events() {
		if ev.Revision < revision { // restored
			clear(last)
		}
		revision = ev.Revision
		name, ok := strings.CutPrefix(string(ev.Kv.Key), guarded)
		if !ok {
			continue
		}
		token, _ := strconv.ParseInt(string(ev.Kv.Value), 10, 64)
		if token < last[name] {
			w.complain("%s was written with token %d at revision %d, after %d", name, token, ev.Revision, last[name])
		}
		last[name] = token
		w.count("guarded writes")
	}
}

// stays says whether a key may be there when nobody is.
func stays(key string) bool {
	for _, prefix := range []string{guarded, "fenceline/cron/", "fenceline/barrier/", "fenceline/latch/", "fenceline/gate/", "fenceline/semaphore/"} {
		if strings.HasPrefix(key, prefix) {
			return !strings.Contains(key, "/in/") && !strings.Contains(key, "/claim")
		}
	}
	return false
}

// checkQuiet is for the end, when all sessions are closed.
func (w *world) checkQuiet() {
	for _, kv := range w.etcd.Keys() {
		if kv.Lease != 0 || !stays(string(kv.Key)) {
			w.complain("%s = %s is left, under lease %x", kv.Key, kv.Value, kv.Lease)
		}
	}
	for _, lease := range w.etcd.Leases() {
		w.complain("lease %x is left", int64(lease))
	}
	if n := w.etcd.Watches(); n > 0 {
		w.complain("%d watches are left", n)
	}
}
