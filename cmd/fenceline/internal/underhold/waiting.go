package underhold

import (
	"context"
	"time"

	"github.com/fenceline/fenceline/session"
)

// When a wait is spoken of: a shorter one is none to whoever sits there, and a line that changes faster is not read.
const (
	WaitSaidAfter = 500 * time.Millisecond
	waitSaidEvery = 3 * time.Second
	lookWithin    = 2 * time.Second
)

// look says who or what is in the way at the moment, in words; empty: that is not known.
type look func(context.Context) string

// Patiently waits, and says for what if somebody wants to know: on a terminal, or with --verbose. It says so again when that
// changes. spoke is whether it did.
func (h *Holder) Patiently(ctx context.Context, look look, wait func(context.Context) error) (spoke bool, err error) {
	if h.owner != "" {
		ctx = session.WithOwner(ctx, h.owner)
	}
	if !h.Talks {
		return false, wait(ctx)
	}
	waiting, cancel := context.WithCancel(ctx)
	said := make(chan bool, 1)
	go func() { said <- h.sayWhatFor(waiting, look) }()
	err = wait(ctx)
	cancel()
	return <-said, err
}

// sayWhatFor speaks until ctx ends.
func (h *Holder) sayWhatFor(ctx context.Context, look look) (spoke bool) {
	last, t := "", time.NewTimer(WaitSaidAfter)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return spoke
		}
		text := LookNow(ctx, look)
		switch {
		case ctx.Err() != nil:
			return spoke
		case text == "" && !spoke:
			h.Say("waiting")
			spoke = true
		case text != "" && text != last:
			h.Say("waiting: %s", text)
			last, spoke = text, true
		}
		t.Reset(waitSaidEvery)
	}
}

func LookNow(ctx context.Context, look look) string {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	return look(ctx)
}
