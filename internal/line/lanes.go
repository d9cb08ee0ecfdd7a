package line

import (
	"container/list"
	"context"
	"sync"

	"github.com/fenceline/fenceline/internal/keeper"
)

// A read-write lock has two lines in a Session, both with entries in the same line of etcd: readers share the entry of
// the one, writers take turns on that of the other. Who came first between the two, etcd knows from their entries,
// as long as no reader steps into a lane after a writer has entered the other one, or the other way round. That is
// what lanes sees to, with a queue for those who come too late for their lane and have to wait until it is empty.

// Lane is a side of a read-write lock.
type Lane int

const (
	Read Lane = iota
	Write
)

// lanes are those of one name in one Session.
type lanes struct {
	mu    sync.Mutex
	users int // guarded by the table's mutex: calls and holds
	last  Lane
	in    [2]int // who waits or holds in each lane
	held  [2]int // of these, who hold
	queue list.List
}

type arrival struct {
	lane  Lane
	ready chan struct{}
}

// enter waits until lane may be entered, and says whether it had to.
func (l *lanes) enter(ctx context.Context, lane Lane, opts *Options, try bool) (waited bool, err error) {
	l.mu.Lock()
	if n := opts.MaxWaiters; n > 0 && !try && (l.queue.Len() > 0 || !l.open(lane)) {
		before := l.queue.Len() + l.in[Read] - l.held[Read] + l.in[Write] - l.held[Write]
		if l.held[Read]+l.held[Write] == 0 { // one of these may be about to hold
			before--
		}
		if before >= n {
			l.mu.Unlock()
			return false, fullError(before, n)
		}
	}
	a := &arrival{lane, make(chan struct{})}
	at := l.queue.PushBack(a)
	l.dispatch()
	select {
	case <-a.ready:
		l.mu.Unlock()
		return false, nil
	default:
	}
	if try {
		l.queue.Remove(at)
		l.mu.Unlock()
		return false, ErrHeld
	}
	l.mu.Unlock()
	select {
	case <-a.ready:
		return true, nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-a.ready: // at the same moment
		l.in[lane]--
	default:
		l.queue.Remove(at)
	}
	l.dispatch()
	return true, context.Cause(ctx)
}

// open says whether nobody stands in lane who came before the last one of the other.
func (l *lanes) open(lane Lane) bool {
	return l.last == lane || l.in[l.last] == 0 || l.in[lane] == 0
}

// dispatch lets those enter whose lane is theirs, in order.
func (l *lanes) dispatch() {
	for l.queue.Len() > 0 {
		a := l.queue.Front().Value.(*arrival)
		if !l.open(a.lane) {
			return
		}
		l.last = a.lane
		l.in[a.lane]++
		l.queue.Remove(l.queue.Front())
		close(a.ready)
	}
}

// leave is enter's end, of a call that was not granted, or of a hold.
func (l *lanes) leave(lane Lane, held bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.in[lane]--
	if held {
		l.held[lane]--
	}
	l.dispatch()
}

func (l *lanes) granted(lane Lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held[lane]++
}

// demoted moves a writer who has become a reader.
func (l *lanes) demoted() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.in[Write]--
	l.held[Write]--
	l.in[Read]++
	l.held[Read]++
	if l.in[Write] == 0 {
		l.last = Read
	}
	l.dispatch()
}

// RW is a read-write lock: its two lines.
type RW struct {
	lanes [2]Ref
}

// NewRW names a read-write lock.
func NewRW(k *keeper.Keeper, kind, name, prefix string) *RW {
	rw := &RW{}
	for lane, rule := range []Rule{Reader, Writer} {
		r := &rw.lanes[lane]
		r.Keeper, r.Kind, r.Name, r.Prefix, r.Rule, r.Lane = k, kind, name, prefix, rule, lane
	}
	return rw
}

// Acquire is Ref.Acquire of a lane.
func (rw *RW) Acquire(ctx context.Context, lane Lane, opts *Options, try bool) (*Hold, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	ref := &rw.lanes[lane]
	t := Of(ref.Keeper)
	key := tableKey{kind: ref.Kind, prefix: ref.Prefix}
	l := t.enterLanes(key)
	waited, err := l.enter(ctx, lane, opts, try)
	if err != nil {
		t.leaveLanes(key, l)
		if ctx.Err() != nil && !try {
			err = rw.waited(lane, err)
		}
		return nil, err
	}
	if waited { // it was let in already: it may wait
		opts = opts.admitted()
	}
	h, err := ref.Acquire(ctx, opts, try)
	if err != nil {
		l.leave(lane, false)
		t.leaveLanes(key, l)
		return nil, err
	}
	l.granted(lane)
	h.ends(func() {
		l.leave(lane, true)
		t.leaveLanes(key, l)
	}, func() {
		l.demoted()
		lane = Read
	})
	return h, nil
}

// OnEnd has out called once when the hold ends, however it does, or now if it has. out must not block, nor call the hold.
func (h *Hold) OnEnd(out func()) { h.ends(out, nil) }

// ends has out called at the end of the hold, which may have come already.
func (h *Hold) ends(out, demoted func()) {
	h.line.mu.Lock()
	defer h.line.mu.Unlock()
	if h.ended != nil {
		out()
		return
	}
	h.out, h.demoted = out, demoted
}

func (t *Table) enterLanes(key tableKey) *lanes {
	t.mu.Lock()
	defer t.mu.Unlock()
	l, ok := t.lanes[key]
	if !ok {
		l = &lanes{}
		t.lanes[key] = l
	}
	l.users++
	return l
}

func (t *Table) leaveLanes(key tableKey, l *lanes) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.users--; l.users == 0 {
		delete(t.lanes, key)
	}
}
