package line

import (
	"context"
	"errors"
	"fmt"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
)

// ErrDemoted says that a hold is a reader's already.
var ErrDemoted = errors.New("it is a read hold")

// rewrite is a change of an entry's value, while it is held.
type rewrite struct {
	value  string
	done   chan error
	over   chan struct{} // closed when it is no longer under way
	then   func(*Line)   // what follows from it
	unsure bool          // an attempt went unanswered
}

// Rewrite changes the value of the entry, which keeps its place, and with it its token. When ctx ends first, the
// request goes on.
func (h *Hold) Rewrite(ctx context.Context, value string) error { return h.rewrite(ctx, value, nil) }

// change is what a Hold waits for, of its own, or of another call that comes first.
type change struct {
	*rewrite
	own bool
}

// Demote makes a writer's hold a reader's. When ctx ends first, the request goes on, and the hold has to count as a
// reader's from then on.
func (h *Hold) Demote(ctx context.Context) error { return h.rewrite(ctx, ReadValue, (*Line).demoted) }

func (h *Hold) rewrite(ctx context.Context, value string, then func(*Line)) error {
	for {
		r, err := h.startRewrite(value, then)
		if err != nil {
			return err
		}
		select {
		case <-r.over:
			if r.own {
				return <-r.done
			}
		case <-ctx.Done():
			if r.own {
				return fmt.Errorf("not confirmed, it goes on in the background: %w", context.Cause(ctx))
			}
			return context.Cause(ctx)
		}
	}
}

func (h *Hold) startRewrite(value string, then func(*Line)) (r change, err error) {
	l, p := h.line, h.place
	l.mu.Lock()
	defer l.mu.Unlock()
	h.check()
	switch {
	case h.ended != nil && h.ended != keeper.ErrNotHeld && !h.released:
		return r, h.ended
	case h.ended != nil:
		return r, keeper.ErrNotHeld
	case then != nil && (l.rule.Joins != nil || p.rewrite != nil):
		return r, ErrDemoted
	case p.rewrite != nil:
		return change{p.rewrite, false}, nil
	}
	r = change{&rewrite{value: value, done: make(chan error, 1), over: make(chan struct{}), then: then}, true}
	p.rewrite, p.rewritten = r.rewrite, true
	l.proceed()
	return r, nil
}

// finish tells who waits how it ended.
func (p *place) finish(err error) {
	if r := p.rewrite; r != nil {
		r.done <- err
		close(r.over)
		p.rewrite = nil
	}
}

// rewrite overwrites the entry.
func (l *Line) rewrite(ctx context.Context) error {
	p, r := l.place, l.place.rewrite
	mod := p.entry.Mod
	err := l.request(ctx, func(ctx context.Context) (err error) {
		mod, err = l.overwrite(ctx, p, mod, r.value, p.lease)
		return err
	})
	switch {
	case l.place != p: // lost meanwhile; lose has told
		return nil
	case errors.Is(err, keeper.ErrLost):
		l.lose(p, err)
		return nil
	case etcd.LeaseGone(err), etcd.Unknown(err):
		r.unsure = true
		return err
	case err != nil:
		err = l.keeper.Explain(err, l.prefix)
		if r.unsure {
			err = fmt.Errorf("an earlier attempt may have got through: %w", err)
		}
		p.finish(err)
		return nil
	}
	p.entry.Mod, p.entry.Value = mod, []byte(r.value)
	if r.then != nil {
		r.then(l)
	}
	p.finish(nil)
	return nil
}

// demoted is called when a writer's entry has become a reader's, who leaves the line with it: the line is retired, and
// writers who wait here get an entry of their own at once.
func (l *Line) demoted() {
	l.place.exposed = true // no writer may have it after this
	l.rule = Reader
	l.remove()
	for l.queue.Len() > 0 {
		w := l.queue.Remove(l.queue.Front()).(*waiter)
		w.again = true
		w.answer(nil, nil)
	}
	for _, h := range l.holds {
		if h.demoted != nil {
			h.demoted()
		}
	}
}
