package registry

import (
	"context"
	"errors"
	"time"

	"github.com/fenceline/fenceline/internal/chance"
	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
)

// lookEvery is how often a Registration reads its own entry although nothing was heard of it: a connection that has
// died in silence tells nothing. A process with a thousand of them asks etcd some seventeen times a second.
const lookEvery = time.Minute

// spread is how long to wait with a registration under a new lease, as a share of at most: after an outage a whole fleet
// comes back, and should not do so in one moment.
func spread(ttl time.Duration, share float64) time.Duration {
	return time.Duration(share * float64(min(ttl/3, 5*time.Second)))
}

// run keeps the entry in etcd. All requests about it are made here, so that they follow each other.
func (r *Registration) run(ctx context.Context) {
	defer close(r.done)
	defer r.release(ctx)
	defer func() {
		if ctx.Err() == nil { // else Close has something to say
			r.roster.remove(r)
		}
	}()
	r.heard = listen(r)
	defer r.heard.stop()
	for tries := 0; ctx.Err() == nil; {
		epoch := r.live(ctx)
		switch {
		case r.isLeaving():
			r.withdraw(ctx)
			return
		case epoch == nil:
			continue
		}
		err := r.step(ctx, epoch)
		switch {
		case err == nil:
			tries = 0
			r.idle(ctx, epoch)
			continue
		case errors.Is(err, etcd.Again):
			continue
		case etcd.LeaseGone(err):
			epoch.Gone()
			continue
		}
		tries++
		if r.trouble(err) {
			if r.entry.Unknown() { // an attempt before that one may have got through
				r.withdraw(ctx)
			}
			return
		}
		r.pause(ctx, backoff(err, tries))
	}
}

// release lets go of the lease. At the end of the Session the loss is still to be told.
func (r *Registration) release(ctx context.Context) {
	r.mu.Lock()
	epoch, lease := r.epoch, r.lease
	r.mu.Unlock()
	if epoch == nil || ctx.Err() != nil {
		return
	}
	epoch.Forget(r)
	epoch.Give(lease)
}

// live waits for a lease. nil: somebody wants something else, or the Session was closed.
func (r *Registration) live(ctx context.Context) *keeper.Epoch {
	if e := r.keeper.Current(); e != nil {
		return e
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	got := make(chan *keeper.Epoch, 1)
	go func() {
		e, _ := r.keeper.Live(ctx) // it fails only when ctx ends
		got <- e
	}()
	select {
	case e := <-got:
		return e
	case <-r.wake:
		cancel()
		return <-got
	}
}

func (r *Registration) isLeaving() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.leaving
}

// step does what is to be done so that etcd has the latest.
func (r *Registration) step(ctx context.Context, epoch *keeper.Epoch) error {
	r.mu.Lock()
	last, value := r.epoch, encode(r.want)
	r.mu.Unlock()
	if last != epoch {
		if last != nil {
			if r.dueFor != epoch {
				r.dueFor, r.due = epoch, time.Now().Add(spread(epoch.TTL(), chance.Float64()))
			}
			if !r.pause(ctx, time.Until(r.due)) {
				return etcd.Again
			}
			r.past = append(r.past[max(0, len(r.past)-7):], r.lease)
		}
		r.enter(ctx, epoch)
	}
	ctx, cancel := context.WithTimeout(ctx, r.keeper.RequestTimeout())
	defer cancel()
	if r.has("") && r.heard.news(r.mod) {
		if err := r.look(ctx, epoch); err != nil {
			return err
		}
	}
	if r.has(value) {
		return nil
	}
	return r.put(ctx, epoch, value)
}

// has says whether etcd has the entry, with this value if it is not empty.
func (r *Registration) has(value string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stands && (value == "" || r.value == value)
}

// enter begins with a new lease.
func (r *Registration) enter(ctx context.Context, epoch *keeper.Epoch) {
	lease := epoch.Take(ctx)
	r.entry = keeper.Undoable{Epoch: epoch} // what was on its way under another lease fails with that
	r.change(func() { r.epoch, r.lease, r.stands = epoch, lease, false })
	epoch.OnLoss(r, func(cause error) {
		told := false
		r.change(func() {
			if r.epoch == epoch {
				told, r.stands = r.placed == epoch, false // it may have been found to be gone before
			}
		})
		if told {
			r.over(func(name string) {
				r.keeper.Lost("registry", name, cause)
				r.keeper.Registered(r.service, r.id, false, cause)
			})
		}
		r.nudge()
	})
}

// idle waits until there may be something to do.
func (r *Registration) idle(ctx context.Context, epoch *keeper.Epoch) {
	t := time.NewTimer(lookEvery * time.Duration(80+chance.N(40)) / 100)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-r.wake:
	case <-epoch.Done():
	case <-t.C:
		r.heard.doubt()
	}
}

// pause returns false when somebody wants something meanwhile.
func (r *Registration) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.wake:
		return false
	case <-ctx.Done():
		return false
	}
}

// backoff is how long to wait after an attempt that failed.
func backoff(err error, tries int) time.Duration {
	switch {
	case errors.Is(err, errContested):
		return contestEvery
	case errors.Is(err, ErrDuplicate), etcd.Final(err):
		return etcd.Refused.Wait(tries)
	}
	return etcd.Prompt.Wait(tries)
}

// trouble notes why etcd does not have the latest. It returns true if that is the end: nobody was told yet that the
// instance is registered, and waiting would not help.
func (r *Registration) trouble(err error) (end bool) {
	explained := r.keeper.Explain(err, r.key)
	if errors.Is(err, ErrDuplicate) || errors.Is(err, errContested) {
		explained = err
	}
	r.keeper.Log.Debug("not registered", "key", r.key, "error", explained)
	r.change(func() {
		if !errors.Is(err, errContested) || !errors.Is(r.err, ErrDuplicate) { // that it lived a while ago says more
			r.err = explained
		}
		if etcd.Final(err) {
			r.refusal = explained
		}
		end = !r.everStood && (errors.Is(err, ErrDuplicate) || etcd.Final(err))
	})
	return end
}
