package keeper

import (
	"context"
	"runtime/pprof"
)

// maxSpare is how many goroutines of a session wait for work. A new one has to grow its stack for each first request
// to etcd, which costs as much as a tenth of an uncontended lock and unlock.
const maxSpare = 8

// Go runs f in a goroutine that Close waits for; f must end soon after its ctx, which ends at Close. It returns
// false, and runs nothing, after Close.
func (k *Keeper) Go(f func(ctx context.Context)) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ctx.Err() != nil {
		return false
	}
	if n := len(k.spare); n > 0 {
		k.spare[n-1] <- f // has room for one, and it waits for one
		k.spare = k.spare[:n-1]
		return true
	}
	k.active++
	go k.work(f)
	return true
}

// work runs f, and then what else there is to do.
func (k *Keeper) work(f func(ctx context.Context)) {
	defer k.finished()
	more := make(chan func(context.Context), 1)
	for f != nil {
		f(k.ctx)
		f = k.nextWork(more)
	}
}

// nextWork returns nil when there is to be no more.
func (k *Keeper) nextWork(more chan func(context.Context)) func(context.Context) {
	k.mu.Lock()
	if len(k.spare) == maxSpare || k.ctx.Err() != nil {
		k.mu.Unlock()
		return nil
	}
	k.spare = append(k.spare, more)
	k.mu.Unlock()
	select {
	case f := <-more:
		return f
	case <-k.ctx.Done():
	}
	k.mu.Lock() // whoever gives work does so with the mutex held, before Close
	defer k.mu.Unlock()
	select {
	case f := <-more:
		return f
	default:
		return nil
	}
}

// detach is Go for what must also run while Close is under way.
func (k *Keeper) detach(f func()) {
	k.mu.Lock()
	k.active++
	k.mu.Unlock()
	go func() {
		defer k.finished()
		f()
	}()
}

func (k *Keeper) finished() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.active--
	if k.active == 0 && k.idle != nil {
		close(k.idle)
		k.idle = nil
	}
}

// Soon has f run by Go within a second, while there is a lease. It uses no channel, so that it may be called by a clean-up of
// the garbage collector's, which runs on a goroutine that belongs to nobody, and to no test's bubble.
func (k *Keeper) Soon(f func(ctx context.Context)) {
	k.soonMu.Lock()
	defer k.soonMu.Unlock()
	k.soon = append(k.soon, f)
}

// catchUp runs what is to run soon.
func (k *Keeper) catchUp() {
	k.soonMu.Lock()
	soon := k.soon
	k.soon = nil
	k.soonMu.Unlock()
	for _, f := range soon {
		k.Go(f)
	}
}

// Labelled runs f, under a label for profiles that says under which hold, if the user wants that.
func (k *Keeper) Labelled(ctx context.Context, kind, name string, f func(ctx context.Context) error) (err error) {
	if !k.Labels {
		return f(ctx)
	}
	pprof.Do(ctx, pprof.Labels(kind, name), func(ctx context.Context) { err = f(ctx) })
	return err
}
