package line

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/queue"
)

// Table holds the lines of one Session that are in use.
type Table struct {
	mu    sync.Mutex
	lines map[tableKey]*Line
	slots map[slotKey]bool // in use

	private map[*Line]bool // of holds on several, if somebody counts
}

type tableKey struct {
	kind, prefix string
	lane         int
}

type tableOf struct{}

// Of is the table of a Session.
func Of(k *keeper.Keeper) *Table {
	return k.Table(tableOf{}, func() any {
		t := &Table{lines: map[tableKey]*Line{}, slots: map[slotKey]bool{}, private: map[*Line]bool{}}
		k.OnCensus(t.census)
		return t
	}).(*Table)
}

// Ref names a line. It finds the line when it is needed, since lines that are idle are forgotten.
type Ref struct {
	Keeper *keeper.Keeper
	Kind   string // "lock"
	Name   string // as the user knows it
	Prefix string // of the entries in etcd, with the final slash
	Policy queue.Policy
	Mode   string // of a read-write lock, as hooks are told
	Units  int64  // of a semaphore
	Lane   int    // a Session may have several lines of one name, with different policies

	line atomic.Pointer[Line] // the one used last
}

// Acquire waits for a hold. With try it does not wait: ErrHeld says that others are ahead.
//
// After an error nothing is held. When ctx ends it returns at once; an entry that stands in etcd by then is deleted by the line, in the
// background.
func (r *Ref) Acquire(ctx context.Context, opts *Options, try bool) (*Hold, error) {
	k := r.Keeper
	if !k.TellsWaits() && k.Hooks.HoldEnd == nil {
		w, l, err := r.stand(ctx, opts, try, k.Meter != nil)
		if err != nil {
			r.countFailed(l, w, err)
			return nil, err
		}
		w.hold.tellGranted(w.took)
		return w.hold, nil
	}
	wait := r.Wait(try)
	ctx = k.WaitStart(ctx, wait)
	w, l, err := r.stand(ctx, opts, try, k.Meter != nil)
	if err != nil {
		r.countFailed(l, w, err)
		k.WaitEnd(ctx, wait, keeper.WaitEnd{Waited: w.took, Err: err})
		return nil, err
	}
	w.hold.tell(ctx, wait, w.took)
	return w.hold, nil
}

// AcquireUntold is Acquire of which nobody is told, by itself: see Hold.GrantedTo.
func (r *Ref) AcquireUntold(ctx context.Context, opts *Options, try bool) (*Hold, error) {
	w, _, err := r.stand(ctx, opts, try, false)
	return w.hold, err
}

// stand waits in the line, told of or not, and returns how that went. The line is nil if ctx had ended before.
func (r *Ref) stand(ctx context.Context, opts *Options, try, told bool) (*waiter, *Line, error) {
	if ctx.Err() != nil {
		return &waiter{}, nil, context.Cause(ctx)
	}
	var took time.Duration
	for {
		l := r.line.Load()
		if l == nil {
			l = r.find()
		}
		w := &waiter{opts: opts, ctx: ctx, try: try, told: told, took: took}
		if !l.enter(w) {
			r.line.CompareAndSwap(l, nil)
			continue
		}
		h, err := l.await(w)
		if w.again {
			r.line.CompareAndSwap(l, nil)
			if w.in {
				opts = opts.Admitted()
			}
			took = w.took
			continue
		}
		w.hold = h
		return w, l, err
	}
}

// enter puts w in the queue. It returns false if the line has been retired.
func (l *Line) enter(w *waiter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.m.retired {
		return false
	}
	l.step(&event{what: onWant, w: w})
	if !w.done { // else the entry was here, and free
		w.ready = make(chan struct{})
	}
	return true
}

// await waits until w is answered, or its ctx ends.
func (l *Line) await(w *waiter) (*Hold, error) {
	if w.ready == nil {
		return w.hold, w.err
	}
	select {
	case <-w.ready:
		return w.hold, w.err
	case <-w.ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	err := keeper.Because(context.Cause(w.ctx), l.m.trouble)
	if !w.done {
		err = l.waited(err)
	} else if w.hold != nil {
		w.told = false // it was counted as a grant, and its release will be
	}
	w.again = false
	l.step(&event{what: onCancel, w: w})
	return nil, err
}

// find returns the line, made now if there is none.
func (r *Ref) find() *Line {
	t := Of(r.Keeper)
	key := tableKey{r.Kind, r.Prefix, r.Lane}
	t.mu.Lock()
	l := t.lines[key]
	t.mu.Unlock()
	if l == nil {
		made := newLine(r.Keeper, key, false, []Member{{Ref: r}}) // without the mutex: it may ask the user for a label
		t.mu.Lock()
		if l = t.lines[key]; l == nil {
			l = made
			t.lines[key] = l
		}
		t.mu.Unlock()
	}
	r.line.Store(l)
	return l
}

// remove takes a line out of the table: whoever comes finds another one. It is called with the line's mutex held.
func (t *Table) remove(l *Line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lines[l.key] == l {
		delete(t.lines, l.key)
	}
}
