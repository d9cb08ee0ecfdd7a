package election

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/watch"
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
// The end of ctx ends it without a word. An error that will not pass (permission denied, the client was closed, an
// invalid name) is yielded last, with the zero Leader. Breaking out of the loop leaves nothing behind. The sequence
// may be ranged over again, and by several at a time; each has a watch stream of its own.
func Observe(ctx context.Context, client *clientv3.Client, name string, opts ...WatchOption) iter.Seq2[Leader, error] {
	return func(yield func(Leader, error) bool) {
		r, err := newReader(client, name, opts)
		if err == nil {
			o := &observer{reader: r, yield: yield, stream: watch.New(pb.NewWatchClient(client.ActiveConnection()))}
			err = r.explain(o.run(ctx))
		}
		if err != nil {
			yield(Leader{}, fmt.Errorf("election: observe %q: %w", name, err))
		}
	}
}

// observer is one loop over Observe.
type observer struct {
	*reader
	stream *watch.Stream
	yield  func(Leader, error) bool

	shown   Leader
	started bool // shown is what the consumer knows
}

// errBreak: the consumer wants no more.
var errBreak = errors.New("election: consumer broke off")

// run lists, watches, and does both again whenever a watch ends. It answers nil when ctx has ended or the consumer
// broke off, and else an error that will not pass.
func (o *observer) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var streaming sync.WaitGroup
	streaming.Go(func() { o.stream.Run(ctx) })
	defer streaming.Wait()
	defer cancel()
	for wait := firstWait; ; wait = min(2*wait, maxWait) {
		listed, err := o.follow(ctx)
		switch {
		case ctx.Err() != nil || errors.Is(err, errBreak):
			return nil
		case keeper.Final(err):
			return err
		case listed:
			wait = firstWait
		}
		if !sleep(ctx, wait) {
			return nil
		}
	}
}

// follow is the life of one watch. It answers why it ended, and whether it got as far as a list.
func (o *observer) follow(ctx context.Context) (listed bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	v := &view{wake: make(chan struct{}, 1), standing: standing{prefix: o.prefix}}
	stopWatch := o.stream.Watch(o.prefix, o.end, v)
	var checking sync.WaitGroup
	defer checking.Wait()
	defer cancel()
	defer stopWatch()

	if err := o.open(ctx, v); err != nil {
		return false, err
	}
	checking.Go(func() { o.check(ctx, v) })
	for {
		leader, err := v.now()
		if !o.show(leader) {
			return true, errBreak
		}
		if err != nil {
			return true, err
		}
		select {
		case <-v.wake:
		case <-ctx.Done():
			return true, ctx.Err()
		}
	}
}

// show yields leader if it is not what the consumer knows already.
func (o *observer) show(leader Leader) bool {
	if o.started && leader == o.shown {
		return true
	}
	o.shown, o.started = leader, true
	return o.yield(leader, nil)
}
