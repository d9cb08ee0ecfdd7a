package mirror

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/watch"
)

// source is where a Follower reads, and how.
type source struct {
	key, end string // what is watched
	stream   *watch.Stream
	// list reads what the copy is of, as of least or later; zero: as the quorum has it. nil: nothing is read.
	list func(ctx context.Context, least int64) (revision int64, kvs []*mvccpb.KeyValue, err error)
	// lax has the first list read as of the watch's beginning, of which a member may tell that is behind.
	lax bool
	// again is what is asked each now and then; nil: the list.
	again func(ctx context.Context) error
	// every says how often.
	every func() time.Duration
	// missed tells of what happened after one revision and up to that of a list, before that is loaded; nil: nobody asks.
	missed func(ctx context.Context, after, upTo int64, kvs []*mvccpb.KeyValue, of *feed)
	// spawn has a function called on a goroutine of its own, and returns false when it is too late for that.
	spawn   func(func(ctx context.Context)) bool
	elapsed func() time.Duration
	trouble func(error)
}

// Follower keeps a Copy up to date: it watches, lists once the watch stands, and passes on what happens from then. A watch that ends, or a
// list that fails, is followed by another of both.
type Follower struct {
	source
	copy Copy

	mu      sync.Mutex
	feed    *feed  // of the present watch; nil: there is none, or the Follower was stopped
	cancel  func() // of the watch
	reading func() // ends the list that is under way; nil: none is
	ending  error  // why the watch has ended, during that
	failed  int
	timer   *time.Timer   // what comes next by itself
	asked   time.Duration // when the quorum was asked last that has answered, by elapsed; negative: never
	known   int64         // what the copy had when the last watch ended
	stopped bool
}

func start(s source, c Copy) *Follower {
	f := &Follower{source: s, copy: c, asked: -1}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open()
	return f
}

// Stop ends it. A call of the Copy that is under way may outlast Stop.
func (f *Follower) Stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
	if f.reading != nil {
		f.reading()
	}
	f.close()
	if f.timer != nil {
		f.timer.Stop()
	}
}

// Believed says whether the copy may be relied on for what it does not show: the quorum was asked not long ago, and the stream is heard of.
func (f *Follower) Believed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.feed != nil && f.asked >= 0 && f.elapsed()-f.asked < 2*f.every() && f.stream.Alive()
}

// open, close and later are called with the mutex held.
func (f *Follower) open() {
	f.feed = &feed{copy: f.copy}
	f.cancel = f.stream.Watch(f.key, f.end, &handler{f.feed, f})
}

func (f *Follower) close() {
	if f.feed == nil {
		return
	}
	f.cancel()
	f.feed.close()
	if known := f.feed.upTo(); known > 0 {
		f.known = known // which is less than before, if etcd was restored from a backup
	}
	f.feed = nil
}

// later has do called after d, with the mutex held, if of is still what is watched.
func (f *Follower) later(d time.Duration, of *feed, do func()) {
	f.timer = time.AfterFunc(d, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if !f.stopped && f.feed == of {
			do()
		}
	})
}

// handler is told what becomes of one watch.
type handler struct {
	*feed
	of *Follower
}

func (h *handler) Created(revision int64) { h.of.created(h.feed, revision) }
func (h *handler) Ended(err error)        { h.of.ended(h.feed, err) }

func (f *Follower) created(of *feed, revision int64) {
	if f.list == nil {
		of.load(revision, nil)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.feed != of:
	case f.list == nil:
		f.failed = 0
	case f.lax:
		f.spawn(func(ctx context.Context) { f.read(ctx, of, revision) })
	default:
		f.spawn(func(ctx context.Context) { f.read(ctx, of, 0) })
	}
}

// errRewound ends a watch that knows more than etcd does.
var errRewound = errors.New("mirror: etcd is at an earlier revision than before: it was restored")

// read lists, as of least or later; zero: as the quorum has it. A list that is long, over a link that is slow, may itself keep the stream from
// being heard, so that the watch ends meanwhile: then the list is loaded all the same, and only after it there is another watch. Else there might
// never be a list.
func (f *Follower) read(ctx context.Context, of *feed, least int64) {
	f.mu.Lock()
	if f.feed != of || f.stopped {
		f.mu.Unlock()
		return
	}
	ctx, f.reading = context.WithCancel(ctx)
	f.mu.Unlock()
	err := f.load(ctx, of, least)
	f.mu.Lock()
	f.reading()
	f.reading = nil
	if err == nil {
		err, f.ending = f.ending, nil
	}
	f.mu.Unlock()
	if err != nil {
		f.ended(of, err)
	}
}

// load lists once, and has the copy take it.
func (f *Follower) load(ctx context.Context, of *feed, least int64) error {
	asked, before := f.elapsed(), of.upTo()
	if a, ok := f.copy.(Asker); ok {
		a.Asking()
	}
	revision, kvs, err := f.list(ctx, least)
	if err == nil && revision < before {
		err = errRewound
	}
	if err != nil {
		return err
	}
	f.mu.Lock()
	known := f.known
	f.mu.Unlock()
	if f.missed != nil && before == 0 && known > 0 && known < revision {
		f.missed(ctx, known, revision, kvs, of)
	}
	of.load(revision, kvs)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.feed == of {
		f.failed = 0
		if least == 0 {
			f.asked = asked
		}
		f.askLater(of)
	}
	return nil
}

// askLater has etcd asked again, in a while. It is called with the mutex held.
func (f *Follower) askLater(of *feed) {
	f.later(etcd.Jitter(f.every()), of, func() { f.spawn(func(ctx context.Context) { f.ask(ctx, of) }) })
}

func (f *Follower) ask(ctx context.Context, of *feed) {
	idler, ok := f.copy.(Idler)
	switch {
	case ok && idler.Idle():
	case f.again == nil:
		f.read(ctx, of, 0)
		return
	default:
		if err := f.again(ctx); err != nil {
			f.ended(of, err)
			return
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.feed == of {
		f.askLater(of)
	}
}

// ended is the end of a watch, or of an attempt to list.
func (f *Follower) ended(of *feed, err error) {
	f.mu.Lock()
	if f.feed != of || f.stopped {
		f.mu.Unlock()
		return
	}
	if f.reading != nil { // see read
		f.ending = cmp.Or(f.ending, err)
		f.mu.Unlock()
		return
	}
	f.ending = nil
	f.close()
	if f.timer != nil {
		f.timer.Stop()
	}
	f.failed++
	f.asked = -1 // what was known then is as old as that, and a new watch does not know it
	f.mu.Unlock()
	f.trouble(err)
	f.mu.Lock()
	defer f.mu.Unlock()
	backoff := etcd.Steady
	if etcd.Final(err) {
		backoff = etcd.Refused
	}
	if !f.stopped {
		f.later(backoff.Wait(f.failed), nil, f.open)
	}
}
