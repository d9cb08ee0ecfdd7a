package election

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/mirror"
)

// Observe yields the present leader, then every change: another leader, another value of the same leader, or a Leader
// with an empty Key when there is none. It needs no Session and holds no lease.
//
// It never goes back, neither to an earlier term nor to an earlier value. A consumer that is slower than the changes
// gets the latest state and not those that it missed; when one leader follows another without a gap, no gap is
// yielded. Compaction, lost connections, and members that restart, hang or lose their leader delay what is yielded,
// and etcd is asked again until it answers; so before the first answer of a cluster that cannot be reached there is
// nothing to yield. Only a cluster that was restored from a backup, so that its revisions begin again at an earlier
// one, makes an observer begin again too.
//
// The end of ctx ends it without a word. A refusal by etcd (permission denied, say) is yielded with the zero Leader, once:
// who does not break out of the loop then gets the leader when etcd lets it be read again, which is tried every ten seconds
// or so. Only a closed client, and an invalid name, end the sequence; that error is yielded last. Breaking out of the loop
// leaves nothing behind. The sequence may be ranged over again, and by several at a time; each has a watch stream of its own.
func Observe(ctx context.Context, client *clientv3.Client, name string, opts ...WatchOption) iter.Seq2[Leader, error] {
	return func(yield func(Leader, error) bool) {
		r, err := newReader(client, name, opts)
		if err == nil {
			o := &observer{reader: r, name: name, yield: yield, wake: make(chan struct{}, 1), standing: standing{prefix: r.Prefix}}
			err = r.Explain(o.run(ctx))
		}
		if err != nil {
			yield(Leader{}, fmt.Errorf("election: observe %q: %w", name, err))
		}
	}
}

// observer is one loop over Observe. The watch's goroutine writes into standing and never waits for the consumer, who
// reads the latest: there is no backlog, however slow the consumer is.
type observer struct {
	*reader
	name  string
	yield func(Leader, error) bool
	wake  chan struct{} // standing has changed

	mu       sync.Mutex
	standing standing
	refusal  mirror.Refusal

	shown   Leader
	started bool // shown is what the consumer knows
}

// run returns nil when ctx has ended or the consumer broke off, and else an error that will not pass.
func (o *observer) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- o.Follow(ctx, o) }()
	for {
		select {
		case <-o.wake:
		case err := <-ended:
			if ctx.Err() == nil {
				o.showNow() // what came before the error
			}
			return err
		}
		if ctx.Err() == nil && !o.showNow() {
			cancel()
		}
	}
}

// showNow yields the leader if it is not the one whom the consumer knows already.
func (o *observer) showNow() bool {
	o.mu.Lock()
	leader, known := o.standing.leader()
	refused := o.refusal.Take()
	o.mu.Unlock()
	if refused != nil && !o.yield(Leader{}, fmt.Errorf("election: observe %q: %w", o.name, refused)) {
		return false
	}
	if !known || o.started && leader == o.shown {
		return true
	}
	o.shown, o.started = leader, true
	return o.yield(leader, nil)
}

func (o *observer) change(f func()) {
	o.mu.Lock()
	f()
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// Load, Apply and Trouble are called by Follow.
func (o *observer) Load(revision int64, kvs []*mvccpb.KeyValue) {
	o.change(func() {
		o.standing.list(kvs)
		o.refusal.Over()
	})
}
func (o *observer) Apply(events []*mvccpb.Event) { o.change(func() { o.standing.apply(events) }) }
func (o *observer) Trouble(err error)            { o.change(func() { o.refusal.Note(err) }) }
