package sim

import (
	"strconv"
	"strings"
	"time"
)

// waiter is somebody who waits for a lock.
type waiter struct {
	what, who string
	lease     string // of its entry
	since     time.Duration
	passed    map[string]int // how often processes were granted it that stood before, since it has waited for long
}

// noticed is how long a process may believe a watch that is silent, until it asks who waits.
const noticed = 15 * time.Second

// wait has somebody wait. What it returns is called when that is over.
func (a *actor) wait(what string) (over func(error) (waited time.Duration)) {
	w := a.s.world
	w.mu.Lock()
	defer w.mu.Unlock()
	me := &waiter{what: what, who: a.name, lease: strconv.FormatInt(int64(a.session().Lease()), 16), since: w.etcd.Now(), passed: map[string]int{}}
	w.waiters[me] = true
	return func(err error) time.Duration {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.waiters, me)
		if err != nil { // others may come
			w.changed[what] = w.etcd.Now()
		}
		return w.etcd.Now() - me.since
	}
}

// passes looks, at a grant to a process, at who waits in etcd for the same lock, and for how long: it must not go on for ever within
// one process, whatever that hears of others, but for a number of times; and once more for an entry that it had before.
func (w *world) passes(what, process string, handoffs int) {
	now := w.etcd.Now()
	var long []*waiter
	w.mu.Lock()
	for o := range w.waiters {
		switch ours := strings.HasPrefix(o.who, process+"."); {
		case o.what != what:
		case ours: // who of a process comes first is not the others' business
			clear(o.passed)
		case now-o.since > noticed:
			long = append(long, o)
		}
	}
	w.mu.Unlock()
	if len(long) == 0 {
		return
	}
	keys := w.etcd.Keys()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range long {
		stands := false
		for _, kv := range keys {
			stands = stands || strings.Contains(string(kv.Key), "/"+what+"/"+o.lease)
		}
		if !stands {
			continue
		}
		if o.passed[process]++; o.passed[process] > 2*(handoffs+1) {
			w.wrong("%s has waited for %s for %v, and %s was granted it %d times", o.who, what, now-o.since, process, o.passed[process])
		}
	}
}

// prompt is within which time somebody is granted what is free, while nothing goes wrong. A lingering entry is given up after half a second.
const prompt = time.Second

// late looks, at a grant in calm, at how long what was granted had been free, and somebody had waited. It wants the mutex.
func (w *world) late(h *hold) {
	if free := w.etcd.Now() - w.changed[h.what]; w.calm && min(free, h.waited) > prompt {
		w.wrong("%s was granted %s %v after it was free, in calm", h.who, h.what, min(free, h.waited))
	}
}
