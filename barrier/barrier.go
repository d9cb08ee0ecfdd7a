package barrier

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/internal/meter"
	"github.com/fenceline/fenceline/session"
)

// Errors arrive wrapped, with the name they are about: ask with errors.Is.
var (
	// ErrParties: the name is in use with another number, of parties or of count-downs.
	ErrParties = errors.New("barrier: in use with another number")
	// ErrBroken: a party left or died before the round was full, and somebody of the round had asked for WithBreak.
	ErrBroken = errors.New("barrier: broken: a party left or died before the round was full")
)

// Option changes a Barrier.
type Option func(*options)

type options struct{ breaks bool }

// WithBreak ends the round for all of its parties, with ErrBroken, when one leaves or dies before the round was full;
// without it, the round waits for another one to come. Give it to all parties, else a death is only noticed by those
// that have it. It costs each of them two events for each other party.
func WithBreak() Option { return func(o *options) { o.breaks = true } }

// Barrier makes a number of parties wait for each other, round after round. It is safe for concurrent use.
type Barrier struct {
	name    string
	parties int
	opts    options
	at      *place
	err     error // why it cannot be used
}

// New does no I/O. A Barrier may be shared or made again at will: each call of Enter is a party of its own, two
// goroutines of one Session are two. An invalid name or number is an error of Enter.
func New(s *session.Session, name string, parties int, opts ...Option) *Barrier {
	b := &Barrier{name: name, parties: parties, at: newPlace(keeper.Of(s), name)}
	for _, opt := range opts {
		opt(&b.opts)
	}
	b.err = keyspace.CheckName("barrier", name)
	if b.err == nil && parties <= 0 {
		b.err = fmt.Errorf("barrier: enter %q: %d parties: want at least 1", name, parties)
	}
	return b
}

// Enter waits until all parties of this round are in. Parties that come after them belong to the next.
//
// When ctx ends before, this party is out again, and nothing of it stays; Enter waits a quarter of a second for etcd to
// say so. If etcd says that the round was full by then, Enter succeeds: once full it stays full, for everyone. If etcd
// does not answer, the Session goes on with it in the background.
//
// ErrParties: others are in, or still inside a round, with another number; both are named, and nothing was written.
// ErrBroken: see WithBreak. session.ErrLost: the lease was lost, and this party's place with it. session.ErrClosed:
// the Session was closed.
func (b *Barrier) Enter(ctx context.Context) (*Pass, error) {
	if b.err != nil {
		return nil, b.err
	}
	p, err := b.enter(ctx)
	if err != nil {
		return nil, fmt.Errorf("barrier: enter %q: %w", b.name, err)
	}
	return p, nil
}

func (b *Barrier) enter(ctx context.Context) (*Pass, error) {
	k := b.at.keeper
	call := k.Call(ctx, keeper.Wait{Kind: "barrier", Name: b.name, Units: 1})
	p, err := b.enterFor(call)
	if err != nil {
		call.Failed(err, outcomeOf(err))
	}
	return p, err
}

func outcomeOf(err error) meter.Outcome {
	if errors.Is(err, ErrParties) {
		return meter.Limit
	}
	return keeper.OutcomeOf(err)
}

func (b *Barrier) enterFor(call *keeper.Call) (*Pass, error) {
	ctx, k := call.Ctx, b.at.keeper
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	epoch, err := k.Live(ctx)
	if err != nil {
		return nil, err
	}
	e := &entering{party: &party{at: b.at, epoch: epoch, entry: keeper.Undoable{Epoch: epoch}, parties: b.parties, breaks: b.opts.breaks},
		name: b.name, call: call, out: make(chan outcome, 1)}
	if !k.Go(func(context.Context) { e.run(ctx) }) {
		return nil, k.Closed()
	}
	var o outcome
	select {
	case o = <-e.out:
	case <-ctx.Done():
		if o = e.late(ctx); o.err != nil {
			return nil, o.err
		}
	}
	if o.err != nil {
		return nil, o.err
	}
	return newPass(call, e.party, b.name, o.round), nil
}

// entering is a call of Enter: the Session's goroutine does it, so that it can be finished after the caller has gone.
type entering struct {
	*party
	name string
	call *keeper.Call
	out  chan outcome
	over atomic.Bool // the caller has been told, or has gone
}

type outcome struct {
	round round
	err   error
}

// grace is how long a caller whose ctx has ended waits to hear whether the round was full.
const grace = 250 * time.Millisecond

func (e *entering) late(ctx context.Context) outcome {
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case o := <-e.out:
		return o
	case <-t.C:
	}
	if e.over.CompareAndSwap(false, true) {
		at := strings.Join(e.at.keeper.Client.Endpoints(), ", ")
		return outcome{err: fmt.Errorf("%w: no answer from etcd at %s", context.Cause(ctx), at)}
	}
	return <-e.out
}

func (e *entering) run(caller context.Context) {
	alive, cancel := e.alive()
	defer cancel(nil)
	ctx, stop := context.WithCancelCause(alive)
	defer stop(nil)
	defer context.AfterFunc(caller, func() { stop(context.Cause(caller)) })()

	var o outcome
	if o.err = e.enter(ctx, alive); o.err == nil {
		e.queued()
		o.round, o.err = e.await(ctx, alive)
	}
	switch {
	case errors.Is(o.err, keeper.ErrRevoked):
		e.epoch.Gone()
	case errors.Is(o.err, keeper.ErrEntryGone):
		o.err = e.whyGone(alive)
	}
	if o.err != nil && alive.Err() == nil {
		if r, in := e.withdraw(alive); in {
			o = outcome{round: r}
		}
	}
	if e.over.CompareAndSwap(false, true) {
		e.out <- o
	} else if o.err == nil {
		e.leave(alive, nil)
	}
}

// whyGone asks for a renewal at once: most often an entry has gone with its lease, and whoever enters again needs to
// know that.
func (p *party) whyGone(alive context.Context) error {
	ctx, cancel := context.WithTimeout(alive, time.Second)
	defer cancel()
	if err := p.epoch.Renew(ctx); errors.Is(err, keeper.ErrLost) || errors.Is(err, keeper.ErrClosed) {
		return err
	}
	return keeper.ErrEntryGone
}

// alive ends with the lease, or with the Session, and says which.
func (p *party) alive() (context.Context, context.CancelCauseFunc) {
	alive, cancel := context.WithCancelCause(context.WithoutCancel(p.at.keeper.Context()))
	holder := new(byte)
	p.epoch.OnLoss(holder, func(cause error) { cancel(cause) })
	return alive, func(err error) { p.epoch.Forget(holder); cancel(err) }
}

func (e *entering) queued() {
	e.at.keeper.Queued("barrier", e.name, max(len(e.seen.waiting())-1, 0))
}
