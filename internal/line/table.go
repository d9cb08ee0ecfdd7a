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
}

type tableKey struct {
	kind, prefix string
	lane         int
}

type tableOf struct{}

// Of is the table of a Session.
func Of(k *keeper.Keeper) *Table {
	return k.Table(tableOf{}, func() any {
		return &Table{lines: map[tableKey]*Line{}, slots: map[slotKey]bool{}}
	}).(*Table)
}

// Ref names a line. It finds the line when it is needed, since lines that are idle are forgotten.
type Ref struct {
	Keeper *keeper.Keeper
	Kind   string // "lock"
	Name   string // as the user knows it
	Prefix string // of the entries in etcd, with the final slash
	Policy queue.Policy
	Lane   int // a Session may have several lines of one name, with different policies

	line atomic.Pointer[Line] // the one used last
}

// Acquire waits for a hold. With try it does not wait: ErrHeld says that others are ahead.
//
// After an error nothing is held. When ctx ends it returns at once; an entry that stands in etcd by then is deleted by the line, in the
// background.
func (r *Ref) Acquire(ctx context.Context, opts *Options, try bool) (*Hold, error) {
	var began time.Time
	if r.Keeper.Traced() {
		began = time.Now()
	}
	h, err := r.AcquireUntold(ctx, opts, try)
	if err == nil {
		h.Granted(began)
	}
	return h, err
}

// AcquireUntold is Acquire of which no trace is told, until somebody gets the hold: see Hold.Granted.
func (r *Ref) AcquireUntold(ctx context.Context, opts *Options, try bool) (*Hold, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	for {
		l := r.line.Load()
		if l == nil {
			l = r.find()
		}
		w := &waiter{opts: opts, ctx: ctx, try: try}
		if !l.stand(w) {
			r.line.CompareAndSwap(l, nil)
			continue
		}
		h, err := l.await(w)
		if w.again {
			r.line.CompareAndSwap(l, nil)
			if w.in {
				opts = opts.Admitted()
			}
			continue
		}
		return h, err
	}
}

// stand puts w in the queue. It returns false if the line has been retired.
func (l *Line) stand(w *waiter) bool {
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
	defer t.mu.Unlock()
	l, ok := t.lines[key]
	if !ok {
		l = newLine(r.Keeper, key, false, []Member{{Ref: r}})
		t.lines[key] = l
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
