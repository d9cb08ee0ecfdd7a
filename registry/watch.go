package registry

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/mirror"
)

// Watch yields who offers a service: the whole set, sorted by ID, at the start, if only to say that it is empty, and at
// each change. It needs no Session. A slice that was yielded is the consumer's own; the Meta in it are shared, and not to
// be written to.
//
// It never goes back to an earlier state. A consumer that is slower than the changes gets the latest set, and not those
// in between. Compaction, lost connections, and members that restart or hang delay what is yielded, and etcd is asked
// again until it answers; WithTroubleFunc tells of that.
//
// The end of ctx ends it without a word. A refusal by etcd (permission denied, say) is yielded with a nil set, once: who
// does not break out of the loop then gets the set when etcd lets it be read again, which is tried every ten seconds or so.
// Only a closed client, and an invalid service, end the sequence; that error is yielded last. Breaking out of the loop
// leaves nothing behind.
func Watch(ctx context.Context, client *clientv3.Client, service string, opts ...WatchOption) iter.Seq2[[]Instance, error] {
	return func(yield func([]Instance, error) bool) {
		err := checkName("service", service)
		if err == nil {
			failed := func(err error) bool { return yield(nil, fmt.Errorf("registry: watch %q: %w", service, err)) }
			err = watch(ctx, client, service, opts, failed, func(s *set) func() bool {
				ins := s.list()
				return func() bool { return yield(ins, nil) }
			})
		}
		if err != nil {
			yield(nil, fmt.Errorf("registry: watch %q: %w", service, err))
		}
	}
}

// WatchAll is Watch for all services under the prefix, by name: all of them, at the start and at each change of any.
// A program that wants to know them over and over, and not each change, uses a Directory.
func WatchAll(ctx context.Context, client *clientv3.Client, opts ...WatchOption) iter.Seq2[map[string][]Instance, error] {
	return func(yield func(map[string][]Instance, error) bool) {
		failed := func(err error) bool { return yield(nil, fmt.Errorf("registry: watch all: %w", err)) }
		err := watch(ctx, client, "", opts, failed, func(s *set) func() bool {
			all := s.byService()
			return func() bool { return yield(all, nil) }
		})
		if err != nil {
			yield(nil, fmt.Errorf("registry: watch all: %w", err))
		}
	}
}

// watch calls look at each change, and then without a lock what it has answered; and failed at each refusal.
func watch(ctx context.Context, client *clientv3.Client, service string, opts []WatchOption, failed func(error) bool, look func(*set) (yield func() bool)) error {
	r, o, err := rangeOf(client, service, opts, WatchOption.watch)
	if err != nil {
		return err
	}
	w := &watcher{set: newSet(o), look: look, failed: failed, trouble: o.trouble, wake: make(chan struct{}, 1)}
	return r.Explain(w.run(ctx, r))
}

// watcher is one loop over Watch. The watch's goroutine keeps the set, and never waits for the consumer.
type watcher struct {
	look    func(*set) (yield func() bool)
	failed  func(error) bool
	trouble func(error)
	wake    chan struct{} // the set has changed

	mu      sync.Mutex
	set     *set
	changed bool // since it was yielded
	refusal mirror.Refusal
}

func (w *watcher) run(ctx context.Context, r *mirror.Range) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- r.Follow(ctx, w) }()
	for more := true; ; {
		select {
		case <-w.wake:
		case err := <-ended:
			return err
		}
		if ctx.Err() == nil && more {
			if more = w.now()(); !more {
				cancel()
			}
		}
	}
}

// now is what there is to yield.
func (w *watcher) now() (yield func() bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.refusal.Take(); err != nil {
		return func() bool { return w.failed(err) }
	}
	if !w.changed {
		return func() bool { return true }
	}
	w.changed = false
	return w.look(w.set)
}

func (w *watcher) change(f func()) {
	w.mu.Lock()
	f()
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Load, Apply and Trouble are called by Follow.
func (w *watcher) Load(_ int64, kvs []*mvccpb.KeyValue) {
	w.change(func() {
		w.set.load(kvs)
		w.refusal.Over()
		w.changed = true
	})
}

func (w *watcher) Apply(events []*mvccpb.Event) {
	w.change(func() {
		w.set.apply(events)
		w.changed = true
	})
}

func (w *watcher) Trouble(err error) {
	w.change(func() { w.refusal.Note(err) })
	if w.trouble != nil {
		w.trouble(err)
	}
}
