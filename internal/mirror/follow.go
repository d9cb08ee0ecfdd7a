package mirror

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/watch"
)

// Copy is what somebody keeps of a Range. Its methods are called one at a time, and must not block.
type Copy interface {
	// Load takes everything there is, as of revision.
	Load(revision int64, kvs []*mvccpb.KeyValue)
	// Apply takes what has changed since, in order, all of one revision together.
	Apply(events []*mvccpb.Event)
	// Trouble says why the copy may be getting old. The next Load ends that.
	Trouble(err error)
}

// checkEvery is how often it is asked whether somebody is at the other end of the watch, if nothing was heard from
// there, and whether one may still read; in truth up to half as long again. That costs etcd a read of one key.
const checkEvery = 5 * time.Second

// page is how many keys are listed at once.
const page = 1000

var (
	errMute = errors.New("mirror: no answer to a request to watch")
	errDeaf = errors.New("mirror: the watch is silent, and does not answer")
)

// Follow keeps c up to date until ctx ends; then it answers nil. An error is one that will not pass.
func (r *Range) Follow(ctx context.Context, c Copy) error {
	ctx, cancel := context.WithCancel(ctx)
	stream := watch.New(pb.NewWatchClient(r.Client.ActiveConnection()))
	var streaming sync.WaitGroup
	streaming.Go(func() { stream.Run(ctx) })
	defer streaming.Wait()
	defer cancel()
	for wait := firstWait; ; wait = min(2*wait, maxWait) {
		loaded, err := r.life(ctx, stream, c)
		switch {
		case ctx.Err() != nil:
			return nil
		case keeper.Final(err):
			return err
		case loaded:
			wait = firstWait
		}
		c.Trouble(r.Explain(err))
		if !Sleep(ctx, wait) {
			return nil
		}
	}
}

// life is that of one watch. It answers why it ended, and whether it got as far as a list.
func (r *Range) life(ctx context.Context, stream *watch.Stream, c Copy) (loaded bool, err error) {
	f := &feed{copy: c, created: make(chan struct{}), ended: make(chan error, 1)}
	defer f.close()
	defer stream.Watch(r.Prefix, r.End, f)()

	late := time.NewTimer(Patience)
	defer late.Stop()
	select {
	case <-f.created:
	case err := <-f.ended:
		return false, err
	case <-late.C: // the connection stands, and nobody is at the other end
		stream.Restart()
		return false, errMute
	case <-ctx.Done():
		return false, ctx.Err()
	}
	// In time, since meanwhile events pile up.
	soon, cancel := context.WithTimeout(ctx, 2*Patience)
	defer cancel()
	revision, kvs, err := r.List(soon)
	if err != nil {
		return false, err
	}
	f.load(revision, kvs)
	return true, r.check(ctx, stream, f)
}

// List reads the whole range at one revision, in pages. That it is linearizable, the first page makes sure.
func (r *Range) List(ctx context.Context) (revision int64, kvs []*mvccpb.KeyValue, err error) {
	for {
		revision, kvs, err = r.pages(ctx)
		if !errors.Is(err, rpctypes.ErrCompacted) || ctx.Err() != nil {
			return revision, kvs, err
		}
	}
}

func (r *Range) pages(ctx context.Context) (revision int64, kvs []*mvccpb.KeyValue, err error) {
	req := r.All()
	req.Limit = page
	for {
		resp, err := r.Ask(ctx, req)
		if err != nil {
			return 0, nil, err
		}
		if revision == 0 {
			revision = resp.Header.Revision
		}
		kvs = append(kvs, resp.Kvs...)
		if !resp.More || len(resp.Kvs) == 0 {
			return revision, kvs, nil
		}
		req.Revision = revision
		req.Key = append(resp.Kvs[len(resp.Kvs)-1].Key, 0)
	}
}

// feed hands what a watch tells to the copy.
type feed struct {
	copy    Copy
	created chan struct{}
	ended   chan error // has room for one

	mu     sync.Mutex
	loaded bool
	closed bool
	known  int64           // what happened up to here, the copy has
	early  []*mvccpb.Event // came before the list
}

// Created, Events and Ended are called by the stream.
func (f *feed) Created(int64)   { close(f.created) }
func (f *feed) Ended(err error) { f.ended <- err }

func (f *feed) Events(events []*mvccpb.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
	case !f.loaded:
		f.early = append(f.early, events...)
	default:
		f.apply(events)
	}
}

// apply passes on what the copy does not have. All events of a revision come in one answer.
func (f *feed) apply(events []*mvccpb.Event) {
	for i, ev := range events {
		if ev.Kv.ModRevision > f.known {
			f.known = events[len(events)-1].Kv.ModRevision
			f.copy.Apply(events[i:])
			return
		}
	}
}

func (f *feed) load(revision int64, kvs []*mvccpb.KeyValue) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loaded, f.known = true, revision
	f.copy.Load(revision, kvs)
	f.apply(f.early)
	f.early = nil
}

// close keeps calls that are under way from reaching the copy after another watch has begun.
func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
}

// check waits for the end of the watch, and asks now and then whether anybody is there: a connection that has died in
// silence, or a member that hangs, tells nothing. Nor does a watch tell that the permission to read was taken away.
func (r *Range) check(ctx context.Context, stream *watch.Stream, f *feed) error {
	heard := stream.Heard()
	for asked := false; ; {
		wait := checkEvery + rand.N(checkEvery/2)
		if asked {
			wait = Patience
		}
		t := time.NewTimer(wait)
		select {
		case err := <-f.ended:
			t.Stop()
			return err
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
		if _, err := r.once(ctx, &pb.RangeRequest{Key: []byte(r.Prefix), Serializable: true}); keeper.Final(err) {
			return err
		}
		switch messages := stream.Heard(); {
		case messages != heard:
			heard, asked = messages, false
		case asked:
			stream.Restart()
			return errDeaf
		default:
			asked = true
			stream.Ping()
		}
	}
}
