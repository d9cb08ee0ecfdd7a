package barrier

import (
	"context"
	"math"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
)

// feed collects what a watch tells until somebody looks.
type feed struct {
	mu      sync.Mutex
	created int64
	events  []*mvccpb.Event
	ended   error
	wake    chan struct{}
}

func newFeed() *feed { return &feed{wake: make(chan struct{}, 1)} }

func (f *feed) tell(set func()) {
	f.mu.Lock()
	set()
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *feed) Created(revision int64) {
	if revision == 0 { // the server has not told it: list as the quorum has it
		revision = math.MaxInt64
	}
	f.tell(func() { f.created = revision })
}

func (f *feed) Events(more []*mvccpb.Event) { f.tell(func() { f.events = append(f.events, more...) }) }
func (f *feed) Ended(err error)             { f.tell(func() { f.ended = err }) }

// take is what the watch's own fate is by now; a creation is told once.
func (f *feed) take() (created int64, ended error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	created, ended = f.created, f.ended
	f.created = 0
	return created, ended
}

func (f *feed) drain() []*mvccpb.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	events := f.events
	f.events = nil
	return events
}

// sight is what a wait does with what it learns; done ends the wait.
type sight interface {
	// list reads, at revision or later; zero: as the quorum has it.
	list(ctx context.Context, revision int64) (done bool, err error)
	// told takes events, in order; some may be older than the list.
	told(ctx context.Context, events []*mvccpb.Event) (done bool, err error)
	// patience is after how long of silence to list again.
	patience() time.Duration
}

// quiet is a feed without the news that the watch was created: for one that is opened before another, which etcd
// creates after it.
type quiet struct{ *feed }

func (quiet) Created(int64) {}

// follow watches a key, or all up to end, from now on, and then lists, so that nothing is missed in between; a watch
// from an earlier revision is served by etcd on a tick of 100 ms. A watch that ends is never an answer: follow lists and
// watches again. It also lists every now and then. It ends with done, an error of s, or ctx.
func follow(ctx context.Context, k *keeper.Keeper, open func(*feed) (cancel func()), s sight) error {
	for tries := 1; ; tries++ {
		done, err := followOnce(ctx, k, open, s)
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil && !done:
			return context.Cause(ctx)
		case done:
			return nil
		}
		etcd.Steady.Sleep(ctx, tries)
	}
}

// followOnce is the life of one watch.
func followOnce(ctx context.Context, k *keeper.Keeper, open func(*feed) (cancel func()), s sight) (done bool, err error) {
	f := newFeed()
	defer open(f)()
	listed := false // events before the first list are in it, or stay in the feed until then
	again := time.NewTimer(s.patience())
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, nil
		case <-again.C:
			if done, err = s.list(ctx, 0); done || err != nil {
				return done, err
			}
			again.Reset(s.patience())
			continue
		case <-f.wake:
		}
		created, ended := f.take()
		if created > 0 {
			if done, err = s.list(ctx, created); done || err != nil {
				return done, err
			}
			listed = true
		}
		if listed {
			if events := f.drain(); len(events) > 0 {
				if done, err = s.told(ctx, events); done || err != nil {
					return done, err
				}
			}
		}
		again.Reset(s.patience())
		if ended != nil {
			k.Log.Debug("watch ended", "error", ended)
			return false, nil
		}
	}
}
