package mirror

import (
	"context"
	"errors"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"github.com/fenceline/fenceline/internal/chance"
	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/watch"
)

// Copy is what somebody keeps of a Range. Its methods are called one at a time, and must not block.
type Copy interface {
	// Load takes everything there is, as of revision.
	Load(revision int64, kvs []*mvccpb.KeyValue)
	// Apply takes what has changed since, in order, all of one revision together.
	Apply(events []*mvccpb.Event)
	// Trouble says why the copy may be getting old, also when etcd refuses to be read (see etcd.Final). The next Load
	// ends that.
	Trouble(err error)
}

// Witness is a Copy that wants to know how what it misses in a list has gone, while nobody told.
type Witness interface {
	// Misses says whether something of the copy is not among kvs. It is called before Load; if so, what happened between the
	// last Load or Apply and that list is applied first, as far as etcd still has it.
	Misses(kvs []*mvccpb.KeyValue) bool
}

// checkEvery is how often it is asked whether one may still read, and by the way whether somebody is at the other end of
// the watch; in truth up to half as long again. That costs etcd a watch on one key, which is given up at once.
const checkEvery = 5 * time.Second

// page is how many keys are listed at once, and pageBytes about how much: who takes long for a page asks for less.
const (
	page      = 1000
	pageBytes = 1 << 20
)

var errMute = errors.New("mirror: no answer to a request to watch")

// Follow keeps c up to date until ctx ends; then it answers nil. The only error is that the client was closed: whatever
// else etcd, or the way there, has against it may pass.
func (r *Range) Follow(ctx context.Context, c Copy) error {
	ctx, cancel := context.WithCancel(ctx)
	stream := watch.New(pb.NewWatchClient(r.Client.ActiveConnection()), r.Prefix)
	var streaming sync.WaitGroup
	streaming.Go(func() { stream.Run(ctx) })
	defer streaming.Wait()
	defer cancel()
	var known int64 // revision up to which c has all
	for failed := 1; ; failed++ {
		now, err := r.life(ctx, stream, c, known)
		loaded := now > 0
		if loaded {
			known = now // which is less than before, if etcd was restored from a backup
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, grpc.ErrClientConnClosing) || etcd.Closed(r.Client):
			return grpc.ErrClientConnClosing
		case loaded:
			failed = 1
		}
		c.Trouble(r.Explain(err))
		backoff := etcd.Steady
		if etcd.Final(err) {
			backoff = etcd.Refused
		}
		if !backoff.Sleep(ctx, failed) {
			return nil
		}
	}
}

// life is that of one watch. It returns why it ended, and up to which revision c has all then; 0: it did not get as far as a list.
func (r *Range) life(ctx context.Context, stream *watch.Stream, c Copy, before int64) (known int64, err error) {
	f := &feed{copy: c, created: make(chan struct{}), ended: make(chan error, 1)}
	defer f.close()
	defer stream.Watch(r.Prefix, r.End, f)()

	late := time.NewTimer(etcd.AnswerWithin)
	defer late.Stop()
	select {
	case <-f.created:
	case err := <-f.ended:
		return 0, err
	case <-late.C: // the connection stands, and nobody is at the other end
		stream.Restart()
		return 0, errMute
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	revision, kvs, err := r.List(ctx)
	if err != nil {
		return 0, err
	}
	if w, ok := c.(Witness); ok && before > 0 && before < revision && w.Misses(kvs) {
		r.between(ctx, before, revision, c)
	}
	f.load(revision, kvs)
	err = r.check(ctx, stream, f)
	return f.upTo(), err
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
		req.Limit = nextLimit(req.Limit, resp)
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

// load takes a list. One that is older than what the watch has told since tells nothing.
func (f *feed) load(revision int64, kvs []*mvccpb.KeyValue) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.loaded && revision < f.known {
		return
	}
	f.loaded, f.known = true, revision
	f.copy.Load(revision, kvs)
	f.apply(f.early)
	f.early = nil
}

func (f *feed) upTo() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.known
}

// close keeps calls that are under way from reaching the copy after another watch has begun.
func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
}

// check waits for the end of the watch, and asks now and then whether one may still read: a watch goes on after that
// permission was taken away. That somebody is at the other end, the stream sees to.
func (r *Range) check(ctx context.Context, stream *watch.Stream, f *feed) error {
	for {
		t := time.NewTimer(checkEvery + chance.N(checkEvery/2))
		select {
		case err := <-f.ended:
			t.Stop()
			return err
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
		if err := r.mayRead(ctx, stream, f); err != nil {
			return err
		}
	}
}

// mayRead asks for a watch on one key.
func (r *Range) mayRead(ctx context.Context, stream *watch.Stream, f *feed) error {
	q := &question{answer: make(chan error, 1)}
	defer stream.Watch(r.Prefix, "", q)()
	select {
	case err := <-q.answer:
		return err
	case err := <-f.ended: // as all watches of a stream that does not answer
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

type question struct{ answer chan error }

func (q *question) Created(int64)          { q.tell(nil) }
func (q *question) Events([]*mvccpb.Event) {}
func (q *question) Ended(err error)        { q.tell(err) }

func (q *question) tell(err error) {
	select {
	case q.answer <- err:
	default:
	}
}

// nextLimit is how many keys to ask for next, so that they weigh about pageBytes.
func nextLimit(limit int64, last *pb.RangeResponse) int64 {
	bytes := 0
	for _, kv := range last.Kvs {
		bytes += len(kv.Key) + len(kv.Value)
	}
	if bytes == 0 {
		return limit
	}
	return min(max(int64(len(last.Kvs))*pageBytes/int64(bytes), 1), page, max(2*limit, 1))
}
