package keeper

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Hooks and the logger are the user's code: they may block, and ask us something. So they run on a goroutine of their own,
// one after the other, in the order of events, and nobody waits for them: no renewal, no end of a hold. Telling may be
// done with any mutex held.

// mostUntold is how many events wait for a hook that blocks; those after are dropped, and counted.
const mostUntold = 10_000

type teller struct {
	log *slog.Logger

	mu      sync.Mutex
	untold  []func()
	dropped int
	told    int           // how many were
	idle    chan struct{} // closed when the goroutine has ended; nil: there is none
}

func (t *teller) tell(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.untold) >= mostUntold {
		t.dropped++
		return
	}
	t.untold = append(t.untold, f)
	if t.idle == nil {
		t.idle = make(chan struct{})
		go t.run()
	}
}

func (t *teller) run() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.untold) > 0 {
		f := t.untold[0]
		t.untold = t.untold[1:]
		if n := t.dropped; n > 0 {
			t.dropped = 0
			t.untold = append(t.untold, func() { t.log.Warn("hooks and log records dropped: one before them has blocked", "dropped", n) })
		}
		t.mu.Unlock()
		f()
		t.mu.Lock()
		t.told++
	}
	close(t.idle)
	t.idle = nil
}

// wait waits until all is told, but not for one that takes longer than a moment: it may be waiting for us.
func (t *teller) wait(ctx context.Context) {
	for {
		t.mu.Lock()
		idle, told := t.idle, t.told
		t.mu.Unlock()
		if idle == nil {
			return
		}
		timer := time.NewTimer(grace)
		select {
		case <-idle:
			timer.Stop()
			return
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		t.mu.Lock()
		stuck := t.told == told
		t.mu.Unlock()
		if stuck {
			return
		}
	}
}

// toldHandler has records told. Whether the user's handler wants them, it is asked then: it may take locks for that, too.
type toldHandler struct {
	slog.Handler
	t *teller
}

func (h toldHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h toldHandler) Handle(ctx context.Context, r slog.Record) error {
	ctx, r = context.WithoutCancel(ctx), r.Clone()
	h.t.tell(func() {
		if h.Handler.Enabled(ctx, r.Level) {
			_ = h.Handler.Handle(ctx, r) // slog.Logger ignores it, too
		}
	})
	return nil
}

func (h toldHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return toldHandler{h.Handler.WithAttrs(attrs), h.t}
}

func (h toldHandler) WithGroup(name string) slog.Handler {
	return toldHandler{h.Handler.WithGroup(name), h.t}
}

// newTeller makes the logger one whose records are told.
func newTeller(log *slog.Logger) (*teller, *slog.Logger) {
	t := &teller{log: log}
	if log.Handler() == slog.DiscardHandler {
		return t, log
	}
	return t, slog.New(toldHandler{log.Handler(), t})
}

// Timed says whether anybody wants to hear how long things take.
func (k *Keeper) Timed() bool {
	return k.Meter != nil || k.Hooks.Granted != nil || k.Hooks.Released != nil || k.Hooks.HoldEnd != nil || k.TellsWaits()
}

// Queued and those that follow tell the hooks of these names. Each hold is granted once, and released or
// lost once.
func (k *Keeper) Queued(kind, name string, ahead int) {
	if f := k.Hooks.Queued; f != nil {
		k.teller.tell(func() { f(kind, name, ahead) })
	}
}

func (k *Keeper) Granted(kind, name string, waited time.Duration) {
	if f := k.Hooks.Granted; f != nil {
		k.teller.tell(func() { f(kind, name, waited) })
	}
}

func (k *Keeper) Released(kind, name string, held time.Duration) {
	if f := k.Hooks.Released; f != nil {
		k.teller.tell(func() { f(kind, name, held) })
	}
}

func (k *Keeper) Lost(kind, name string, cause error) {
	if f := k.Hooks.Lost; f != nil {
		k.teller.tell(func() { f(kind, name, cause) })
	}
}

func (k *Keeper) Overrun(kind, name string, by time.Duration) {
	if m := k.Meter; m != nil {
		m.Shard(kind, name).Overrun(by)
	}
	if f := k.Hooks.Overrun; f != nil {
		k.teller.tell(func() { f(kind, name, by) })
	}
}

func (k *Keeper) Missed(kind, name string, ticks int) {
	if m := k.Meter; m != nil {
		m.Job(name).Missed(ticks)
	}
	if f := k.Hooks.Missed; f != nil {
		k.teller.tell(func() { f(kind, name, ticks) })
	}
}

func (k *Keeper) Stalled(kind, name string, why error) {
	if f := k.Hooks.Stalled; f != nil {
		k.teller.tell(func() { f(kind, name, why) })
	}
}

func (k *Keeper) Asked(kind, name string, r Request) {
	if f := k.Hooks.Asked; f != nil {
		k.teller.tell(func() { f(kind, name, r) })
	}
}

// Request is who wants a hold to be given back, and why.
type Request struct {
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"` // by the clock of whoever asks
}
