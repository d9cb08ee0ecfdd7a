package keeper

import (
	"context"
	"errors"
	"time"

	"github.com/fenceline/fenceline/internal/meter"
)

// Wait is a call that wants to hold.
type Wait struct {
	Kind, Name string
	Mode       string // of an RWMutex: "read" or "write"; else empty
	Units      int64  // of a semaphore; else 1
	Try        bool   // it does not wait for others
}

// WaitEnd is how such a call has ended.
type WaitEnd struct {
	Waited time.Duration
	Err    error         // nil: it holds now
	Path   string        // "free": nobody was ahead; "local": the Session's entry was there, handed over or kept; "etcd": it stood in etcd's line
	Idle   time.Duration // how long nobody held before it did, as far as is known here; zero after Path "free"
	Ahead  int           // in etcd's line when it joined it
}

// HoldEnd is how a hold has ended.
type HoldEnd struct {
	Held time.Duration
	Err  error // nil: it was given back
}

// Renewal is one that was acknowledged, or has failed.
type Renewal struct {
	Took time.Duration
	Left time.Duration // until the lease's deadline, when it was sent
	Err  error
}

// CronRun is a tick of a job that runs here.
type CronRun struct {
	Job       string
	Scheduled time.Time
	Attempt   int           // from 1
	Late      time.Duration // after it was due
}

// CronRunEnd is how it has ended.
type CronRunEnd struct {
	Took    time.Duration
	Outcome string // "success", "error", "timeout", or "lost": its claim is another's, or may be
	Err     error
}

// WaitStart tells of a call that begins, on its own goroutine. The ctx that it returns is the call's from then on.
func (k *Keeper) WaitStart(ctx context.Context, w Wait) context.Context {
	if f := k.Hooks.WaitStart; f != nil {
		if inner := f(ctx, w); inner != nil {
			return inner
		}
	}
	return ctx
}

// WaitEnd tells how it has ended.
func (k *Keeper) WaitEnd(ctx context.Context, w Wait, e WaitEnd) {
	if f := k.Hooks.WaitEnd; f != nil {
		f(ctx, w, e)
	}
	if f := k.Hooks.Abandoned; f != nil && e.Err != nil {
		k.teller.tell(func() { f(w.Kind, w.Name, e.Waited, e.Err) })
	}
}

// TellsWaits says whether anybody wants to hear of waits.
func (k *Keeper) TellsWaits() bool {
	return k.Hooks.WaitStart != nil || k.Hooks.WaitEnd != nil || k.Hooks.Abandoned != nil
}

// HoldEnd tells how a hold has ended whose wait ended with ctx: here, if it was given back, and no mutex is held.
func (k *Keeper) HoldEnd(ctx context.Context, w Wait, e HoldEnd, here bool) {
	switch f := k.Hooks.HoldEnd; {
	case f == nil:
	case here:
		f(ctx, w, e)
	default:
		k.teller.tell(func() { f(ctx, w, e) })
	}
}

// RunStart and RunEnd tell of a run of a job, on its own goroutine.
func (k *Keeper) RunStart(ctx context.Context, r CronRun) context.Context {
	if m := k.Meter; m != nil {
		m.Job(r.Job).Started(r.Late)
	}
	if f := k.Hooks.RunStart; f != nil {
		if inner := f(ctx, r); inner != nil {
			return inner
		}
	}
	return ctx
}

func (k *Keeper) RunEnd(ctx context.Context, r CronRun, e CronRunEnd, how meter.RunOutcome, now time.Time) {
	if m := k.Meter; m != nil {
		m.Job(r.Job).Ended(how, e.Took, now)
	}
	if f := k.Hooks.RunEnd; f != nil {
		e.Outcome = how.String()
		f(ctx, r, e)
	}
}

// renewed tells of a renewal.
func (k *Keeper) renewed(r Renewal) {
	if m := k.Meter; m != nil {
		if r.Err == nil {
			m.Renewed(r.Took)
		} else {
			m.NotRenewed()
		}
	}
	if f := k.Hooks.Renewed; f != nil {
		k.teller.tell(func() { f(r) })
	}
}

// Registered tells that an instance stands, or why it does not any more.
func (k *Keeper) Registered(service, id string, stands bool, cause error) {
	if f := k.Hooks.Registered; f != nil {
		k.teller.tell(func() { f(service, id, stands, cause) })
	}
}

// OnCensus has f asked what holds and waits now, whenever somebody reads the Meter.
func (k *Keeper) OnCensus(f func(*meter.Census)) {
	k.censusMu.Lock()
	defer k.censusMu.Unlock()
	k.census = append(k.census, f)
}

// Read reads the Meter; nil: there is none.
func (k *Keeper) Read() *meter.Reading {
	if k.Meter == nil {
		return nil
	}
	k.censusMu.Lock()
	census := k.census
	k.censusMu.Unlock()
	return k.Meter.Read(append(census[:len(census):len(census)], func(c *meter.Census) { k.calls.census(c, k.Elapsed()) })...)
}

// OutcomeOf says how a call ended that returned err, if it was not refused for what others do.
func OutcomeOf(err error) meter.Outcome {
	switch {
	case err == nil:
		return meter.Granted
	case errors.Is(err, context.DeadlineExceeded):
		return meter.Timeout
	case errors.Is(err, ErrClosed), errors.Is(err, ErrLost):
		return meter.Lost
	case errors.Is(err, context.Canceled):
		return meter.Canceled
	}
	return meter.Failed
}

// ReasonOf says why a hold was lost.
func ReasonOf(cause error) meter.Reason {
	var broken *BrokenError
	switch {
	case errors.As(cause, &broken):
		return meter.Broken
	case errors.Is(cause, ErrEntryGone):
		return meter.Deleted
	case errors.Is(cause, ErrRevoked):
		return meter.Revoked
	case errors.Is(cause, ErrRestored):
		return meter.Restored
	case errors.Is(cause, ErrClosed):
		return meter.Closed
	}
	return meter.Expired
}
