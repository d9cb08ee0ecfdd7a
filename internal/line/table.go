package line

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keeper"
)

// Table holds the lines of one Session that are in use.
type Table struct {
	keeper *keeper.Keeper
	mu     sync.Mutex
	lines  map[tableKey]*Line
	lanes  map[tableKey]*lanes
	slots  map[slotKey]bool // in use
}

type tableKey struct {
	kind, prefix string
	lane         int
}

type tableOf struct{}

// Of is the table of a Session.
func Of(k *keeper.Keeper) *Table {
	return k.Table(tableOf{}, func() any {
		return &Table{keeper: k, lines: map[tableKey]*Line{}, lanes: map[tableKey]*lanes{}, slots: map[slotKey]bool{}}
	}).(*Table)
}

// Ref names a line. It finds the line when it is needed, since lines that are idle are forgotten.
type Ref struct {
	Keeper *keeper.Keeper
	Kind   string // "lock"
	Name   string // as the user knows it
	Prefix string // of the entries in etcd, with the final slash
	Rule   Rule
	Lane   int // a Session may have several lines of one name, with different rules

	line atomic.Pointer[Line] // the one used last
}

// Acquire waits for a hold. With try it does not wait: ErrHeld says that others are ahead.
//
// After an error nothing is held. When ctx ends it returns at once; an entry that stands in etcd by then is deleted
// by the line, in the background.
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
		h, again, err := l.await(w)
		if again {
			r.line.CompareAndSwap(l, nil)
			if w.in {
				opts = opts.admitted()
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		return h, nil
	}
}

// Granted tells the trace that somebody has got the hold, who has waited since began.
func (h *Hold) Granted(began time.Time) {
	if l := h.line; l.keeper.Traced() {
		h.since = time.Now()
		l.keeper.Granted(l.kind, l.name, h.since.Sub(began))
	}
}

// find answers the line, made now if there is none.
func (r *Ref) find() *Line {
	t := Of(r.Keeper)
	key := tableKey{r.Kind, r.Prefix, r.Lane}
	t.mu.Lock()
	defer t.mu.Unlock()
	l, ok := t.lines[key]
	if !ok {
		l = r.newLine()
		t.lines[key] = l
	}
	r.line.Store(l)
	return l
}

func (r *Ref) newLine() *Line {
	return &Line{keeper: r.Keeper, table: Of(r.Keeper), kind: r.Kind, name: r.Name, prefix: r.Prefix, end: clientv3.GetPrefixRangeEnd(r.Prefix),
		rule: r.Rule, lane: r.Lane, wake: make(chan struct{}, 1)}
}

// retire forgets a line that nobody uses. It is called with the line's mutex held.
func (l *Line) retire() {
	if l.place == nil && len(l.holds) == 0 && l.queue.Len() == 0 && l.view == nil && l.side == nil && !l.driving {
		l.remove()
	}
}

// remove takes the line out of the table: whoever comes finds another one.
func (l *Line) remove() {
	if l.retired || l.lent {
		return
	}
	l.retired = true
	l.table.mu.Lock()
	defer l.table.mu.Unlock()
	delete(l.table.lines, tableKey{l.kind, l.prefix, l.lane})
}
