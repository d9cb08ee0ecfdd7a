package line

import (
	"context"
	"errors"
	"fmt"

	"github.com/fenceline/fenceline/internal/keeper"
)

// ErrDemoted says that a hold is a reader's already.
var ErrDemoted = errors.New("it is a read hold")

// Demote makes a writer's hold a reader's. The entry keeps its place, and with it its token. When ctx ends first, the
// request goes on, and the hold has to count as a reader's from then on.
func (h *Hold) Demote(ctx context.Context) error {
	done, err := h.startDemote()
	if err != nil {
		return err
	}
	select {
	case err = <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("not confirmed, it goes on in the background: %w", context.Cause(ctx))
	}
}

func (h *Hold) startDemote() (<-chan error, error) {
	l, p := h.line, h.place
	l.mu.Lock()
	defer l.mu.Unlock()
	h.check()
	switch {
	case h.released:
		return nil, keeper.ErrNotHeld
	case h.ended != nil:
		return nil, h.ended
	case l.rule.Joins != nil || p.demote != nil:
		return nil, ErrDemoted
	}
	done := make(chan error, 1)
	p.demote = done
	l.proceed()
	return done, nil
}

// demote overwrites the entry. From then on the line has one reader, who leaves it behind: the line is retired, and
// writers who wait here get an entry of their own at once.
func (l *Line) demote(ctx context.Context) error {
	p := l.place
	var mod int64
	err := l.request(ctx, func(ctx context.Context) (err error) {
		mod, err = l.overwrite(ctx, p, ReadValue, p.epoch.ID())
		return err
	})
	done := p.demote
	switch {
	case l.place != p: // lost meanwhile; lose has told
		return nil
	case errors.Is(err, keeper.ErrLost):
		l.lose(p, err)
		return nil
	case err != nil && !keeper.Unknown(err):
		p.demote = nil
		done <- keeper.Explain(l.keeper.Client, err, l.prefix)
		return nil
	case err != nil:
		return err
	}
	p.demote = nil
	p.exposed = true // no writer may have it after this
	p.demoted(mod)
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
	done <- nil
	return nil
}

func (p *place) demoted(mod int64) {
	p.entry.Mod, p.entry.Value = mod, []byte(ReadValue)
}

// adopt takes from the view that a demotion has got through, whose answer is still on its way.
func (p *place) adopt(v *view) {
	if p.demote == nil {
		return
	}
	if e, ok := v.find(p.key); ok && e.Create == p.entry.Create && e.Lease == p.epoch.ID() && reads(e) {
		p.demoted(e.Mod)
	}
}
