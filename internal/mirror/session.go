package mirror

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/watch"
)

// Follower keeps a Copy of some keys up to date by the session's stream, which many of them share: it costs a watch, and no goroutine.
// A watch that ends is opened anew. One that stays silent is believed for keeper.Silence: then the keys are listed again.
type Follower struct {
	keeper   *keeper.Keeper
	key, end string
	copy     Copy

	mu      sync.Mutex
	feed    *feed // of the present watch; nil: there is none, or the Follower was stopped
	cancel  func()
	failed  int
	again   *time.Timer   // when to list, or to watch, again
	asked   time.Duration // when the quorum was asked last that has answered, on the keeper's clock; negative: never
	stopped bool
}

// Follow has c kept up to date with [key, end), or with key alone if end is empty, until Stop. c's methods are called one at a time; they must
// not block, and not call the Follower's.
func Follow(k *keeper.Keeper, key, end string, c Copy) *Follower {
	f := &Follower{keeper: k, key: key, end: end, copy: c, asked: -1}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open()
	return f
}

// Stop ends it. A call of c that is under way may outlast Stop.
func (f *Follower) Stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
	f.close()
	if f.again != nil {
		f.again.Stop()
	}
}

// Believed says whether the copy may be relied on for what it does not show: the quorum was asked not long ago, and the stream is heard of.
func (f *Follower) Believed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.feed != nil && f.asked >= 0 && f.keeper.Elapsed()-f.asked < 2*f.keeper.Silence() && f.keeper.Watch().Alive()
}

// open watches, and lists once the watch stands. It is called with the mutex held, as close is.
func (f *Follower) open() {
	f.feed = &feed{copy: f.copy}
	f.cancel = f.keeper.Watch().Watch(f.key, f.end, &followed{f.feed, f})
}

func (f *Follower) close() {
	if f.feed == nil {
		return
	}
	f.cancel()
	feed := f.feed
	f.feed = nil
	feed.close()
}

// later has do called after d, unless there is something else by then.
func (f *Follower) later(d time.Duration, do func()) {
	if f.again != nil {
		f.again.Stop()
	}
	f.again = time.AfterFunc(d, do)
}

// list reads the keys, at revision at least; 0: as the quorum has them.
func (f *Follower) list(ctx context.Context, of *feed, revision int64) {
	ctx, cancel := context.WithTimeout(ctx, f.keeper.RequestTimeout())
	defer cancel()
	asked := f.keeper.Elapsed()
	var opts []clientv3.OpOption
	if f.end != "" {
		opts = append(opts, clientv3.WithRange(f.end))
	}
	resp, err := f.keeper.KV().ReadAt(ctx, revision, f.key, opts...)
	if err != nil {
		f.ended(of, err)
		return
	}
	of.load(resp.Header.Revision, resp.Kvs)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.feed != of {
		return
	}
	f.failed = 0
	if revision == 0 {
		f.asked = asked
	}
	f.later(etcd.Jitter(f.keeper.Silence()), func() { f.keeper.Go(func(ctx context.Context) { f.list(ctx, of, 0) }) })
}

// ended is the end of a watch, or of an attempt to list.
func (f *Follower) ended(of *feed, err error) {
	f.mu.Lock()
	if f.feed != of || f.stopped {
		f.mu.Unlock()
		return
	}
	f.close()
	f.failed++
	f.asked = -1 // what was known then is as old as that, and a new watch does not know it
	f.later(etcd.Steady.Wait(f.failed), func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if !f.stopped && f.feed == nil && f.keeper.Context().Err() == nil {
			f.open()
		}
	})
	f.mu.Unlock()
	f.copy.Trouble(err)
}

// followed is the handler of one watch.
type followed struct {
	*feed
	of *Follower
}

var _ watch.Handler = (*followed)(nil)

func (w *followed) Created(revision int64) {
	w.of.keeper.Go(func(ctx context.Context) { w.of.list(ctx, w.feed, 0) })
}

func (w *followed) Ended(err error) { w.of.ended(w.feed, err) }
