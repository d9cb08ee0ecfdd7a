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

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/watch"
)

// checkEvery is how often it is asked whether one may still read; in truth from half as long to half as long again. That costs etcd a watch on
// one key, which is given up at once.
const checkEvery = 6 * time.Second

// page is how many keys are listed at once, and pageBytes about how much: who takes long for a page asks for less.
const (
	page      = 1000
	pageBytes = 1 << 20
)

// Follow keeps c up to date until ctx ends; then it returns nil. The only error is that the client was closed: whatever
// else etcd, or the way there, has against it may pass.
func (r *Range) Follow(ctx context.Context, c Copy) error {
	ctx, cancel := context.WithCancel(ctx)
	stream := watch.New(pb.NewWatchClient(r.Client.ActiveConnection()), r.Prefix)
	var running sync.WaitGroup
	running.Go(func() { stream.Run(ctx) })
	defer running.Wait()
	defer cancel()

	closed := make(chan struct{})
	var once sync.Once
	s := source{key: r.Prefix, end: r.End, stream: stream,
		list: func(ctx context.Context, _ int64) (int64, []*mvccpb.KeyValue, error) { return r.List(ctx) },
		// Nothing is listed again: a list may be long. But a watch goes on after the permission to read was taken away.
		again:   func(ctx context.Context) error { return r.mayRead(ctx, stream) },
		every:   func() time.Duration { return checkEvery },
		elapsed: func() time.Duration { return 0 }, // nobody asks whether it is believed
		spawn: func(f func(context.Context)) bool {
			running.Go(func() { f(ctx) })
			return true
		},
		trouble: func(err error) {
			if errors.Is(err, grpc.ErrClientConnClosing) || etcd.Closed(r.Client) {
				once.Do(func() { close(closed) })
			} else if ctx.Err() == nil {
				c.Trouble(r.Explain(err))
			}
		},
	}
	if w, ok := c.(Witness); ok {
		s.missed = func(ctx context.Context, after, upTo int64, kvs []*mvccpb.KeyValue, of *feed) {
			misses := false
			of.beforeLoad(func(Copy) { misses = w.Misses(kvs) })
			if misses {
				r.between(ctx, after, upTo, of)
			}
		}
	}
	defer start(s, c).Stop()
	select {
	case <-ctx.Done():
		return nil
	case <-closed:
		return grpc.ErrClientConnClosing
	}
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

// mayRead asks for a watch on one key.
func (r *Range) mayRead(ctx context.Context, stream *watch.Stream) error {
	q := &question{answer: make(chan error, 1)}
	defer stream.Watch(r.Prefix, "", q)()
	select {
	case err := <-q.answer: // also the end of a stream that does not answer
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
