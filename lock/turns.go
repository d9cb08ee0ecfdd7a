package lock

import (
	"container/list"
	"context"
	"sync"

	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/line"
	"github.com/fenceline/fenceline/internal/queue"
	"github.com/fenceline/fenceline/session"
)

// A read-write lock has two lines in a Session, both with entries in the same line of etcd: readers share the entry of
// the one, writers take turns on that of the other. Who came first between the two, etcd knows from their entries,
// as long as no reader steps into a lane after a writer has entered the other one, or the other way round. That is
// what turns sees to, with a queue for those who come too late for their lane and have to wait until it is empty.

// side is a side of a read-write lock.
type side int

const (
	reading side = iota
	writing
)

// turns are those of one name in one Session.
type turns struct {
	mu    sync.Mutex
	users int // guarded by the table's mutex: calls and holds
	last  side
	in    [2]int // who waits or holds in each lane
	held  [2]int // of these, who hold
	queue list.List
}

type arrival struct {
	lane  side
	ready chan struct{}
}

// enter waits until lane may be entered, and says whether it had to.
func (t *turns) enter(ctx context.Context, lane side, opts *line.Options, try bool) (waited bool, err error) {
	t.mu.Lock()
	if n := opts.MaxWaiters; n > 0 && !try && (t.queue.Len() > 0 || !t.open(lane)) {
		before := t.queue.Len() + t.in[reading] - t.held[reading] + t.in[writing] - t.held[writing]
		if t.held[reading]+t.held[writing] == 0 { // one of these may be about to hold
			before--
		}
		if before >= n {
			t.mu.Unlock()
			return false, line.FullError(before, n)
		}
	}
	a := &arrival{lane, make(chan struct{})}
	at := t.queue.PushBack(a)
	t.dispatch()
	select {
	case <-a.ready:
		t.mu.Unlock()
		return false, nil
	default:
	}
	if try {
		t.queue.Remove(at)
		t.mu.Unlock()
		return false, ErrHeld
	}
	t.mu.Unlock()
	select {
	case <-a.ready:
		return true, nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-a.ready: // at the same moment
		t.in[lane]--
	default:
		t.queue.Remove(at)
	}
	t.dispatch()
	return true, context.Cause(ctx)
}

// open says whether nobody stands in lane who came before the last one of the other.
func (t *turns) open(lane side) bool {
	return t.last == lane || t.in[t.last] == 0 || t.in[lane] == 0
}

// dispatch lets those enter whose lane is theirs, in order.
func (t *turns) dispatch() {
	for t.queue.Len() > 0 {
		a := t.queue.Front().Value.(*arrival)
		if !t.open(a.lane) {
			return
		}
		t.last = a.lane
		t.in[a.lane]++
		t.queue.Remove(t.queue.Front())
		close(a.ready)
	}
}

// leave is enter's end, of a call that was not granted, or of a hold.
func (t *turns) leave(lane side, held bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.in[lane]--
	if held {
		t.held[lane]--
	}
	t.dispatch()
}

func (t *turns) granted(lane side) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held[lane]++
}

// demoted moves a writer who has become a reader.
func (t *turns) demoted() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.in[writing]--
	t.held[writing]--
	t.in[reading]++
	t.held[reading]++
	if t.in[writing] == 0 {
		t.last = reading
	}
	t.dispatch()
}

// rw is a read-write lock: its two lines.
type rw struct {
	lines [2]line.Ref
}

func newRW(k *keeper.Keeper, name, prefix string) *rw {
	of := &rw{}
	for i, policy := range []queue.Policy{reading: queue.Reader, writing: queue.Writer} {
		r := &of.lines[i]
		r.Keeper, r.Kind, r.Name, r.Prefix, r.Policy, r.Lane = k, "rwlock", name, prefix, policy, i
		r.Mode = [...]string{reading: "read", writing: "write"}[i]
	}
	return of
}

// acquire waits for a hold on one side.
func (of *rw) acquire(ctx context.Context, lane side, opts *line.Options, try bool) (*line.Hold, error) {
	ref := &of.lines[lane]
	call := ref.Keeper.Call(ctx, ref.Wait(try))
	h, err := of.enter(call.Ctx, lane, opts, try)
	if err != nil {
		call.Failed(err, line.OutcomeOf(err))
		return nil, err
	}
	h.GrantedTo(call)
	return h, nil
}

func (of *rw) enter(ctx context.Context, lane side, opts *line.Options, try bool) (*line.Hold, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	ref := &of.lines[lane]
	all := allTurnsOf(ref.Keeper)
	t := all.enter(ref.Prefix)
	waited, err := t.enter(ctx, lane, opts, try)
	if err != nil {
		all.leave(ref.Prefix, t)
		if ctx.Err() != nil && !try {
			err = of.waited(lane, err)
		}
		return nil, err
	}
	if waited { // it was let in already: it may wait
		opts = opts.Admitted()
	}
	h, err := ref.AcquireUntold(ctx, opts, try)
	if err != nil {
		t.leave(lane, false)
		all.leave(ref.Prefix, t)
		return nil, err
	}
	t.granted(lane)
	h.OnChange(func() {
		t.leave(lane, true)
		all.leave(ref.Prefix, t)
	}, func() {
		t.demoted()
		lane = reading
	})
	return h, nil
}

// who says who is in the way of one who wants that side.
func (of *rw) who(ctx context.Context, lane side, refusal error) session.Holder {
	if h, here := of.lines[1-lane].Here(); here && (lane == reading || h.Standing == session.Holds) {
		return h
	}
	return of.lines[lane].Who(ctx, refusal)
}

// waited is the error of one who waited for those of the other side here to be out.
func (of *rw) waited(lane side, err error) error {
	other := &of.lines[1-lane]
	if h, here := other.Here(); here {
		return &session.WaitError{Name: other.Name, Holder: h, Err: err}
	}
	return other.Waited(err)
}

// allTurns are those of a Session, by prefix, as far as they are in use.
type allTurns struct {
	mu sync.Mutex
	of map[string]*turns
}

type allTurnsKey struct{}

func allTurnsOf(k *keeper.Keeper) *allTurns {
	return k.Table(allTurnsKey{}, func() any { return &allTurns{of: map[string]*turns{}} }).(*allTurns)
}

func (a *allTurns) enter(prefix string) *turns {
	a.mu.Lock()
	defer a.mu.Unlock()
	t, ok := a.of[prefix]
	if !ok {
		t = &turns{}
		a.of[prefix] = t
	}
	t.users++
	return t
}

func (a *allTurns) leave(prefix string, t *turns) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t.users--; t.users == 0 {
		delete(a.of, prefix)
	}
}
