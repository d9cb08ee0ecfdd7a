// Package watch keeps one watch stream open to etcd and delivers its events by callback.
//
// It exists beside clientv3.Watcher for what a line needs. A watch costs no goroutine here, so that a thousand held
// locks stay cheap; requests to create watches follow each other without waiting for the answers, where the client
// pays a round trip each; and an event goes from the connection to the waiter in one step. In return it promises
// less: a watch that ends, for whatever reason, has ended, and its owner lists again and watches again, as the owner
// has to anyway.
//
// Watches start "from now" (revision 0). A watch that starts at a past revision is served by etcd on a tick of 100 ms.
package watch

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// Handler receives what happens to one watch, in order, from the stream's goroutine: it must not block. After Ended,
// or after the watch was cancelled, nothing follows, but for a call that is under way at that moment.
type Handler interface {
	// Created says that all events after revision will be delivered; earlier ones may be.
	Created(revision int64)
	Events([]*mvccpb.Event)
	Ended(err error)
}

// Stream is one gRPC stream with many watches. The zero value is not usable.
type Stream struct {
	rpc   pb.WatchClient
	heard atomic.Int64 // how many messages have come

	mu      sync.Mutex
	next    int64
	watches map[int64]Handler
	out     []*pb.WatchRequest // not sent yet
	pending []int64            // sent, not answered; etcd answers in the order of the requests
	restart context.CancelCauseFunc
	wake    chan struct{} // out is not empty
}

// New makes a stream that opens when the first watch is asked for. It does nothing until Run is called.
func New(rpc pb.WatchClient) *Stream {
	return &Stream{rpc: rpc, watches: map[int64]Handler{}, wake: make(chan struct{}, 1)}
}

// Watch asks for the events of [key, end), or of key alone when end is empty. It does not block. cancel takes it back.
func (s *Stream) Watch(key, end string, h Handler) (cancel func()) {
	return s.create(request(key, end), h)
}

// Deletes is Watch for deletions only.
func (s *Stream) Deletes(key, end string, h Handler) (cancel func()) {
	req := request(key, end)
	req.Filters = []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}
	return s.create(req, h)
}

func request(key, end string) *pb.WatchCreateRequest {
	req := &pb.WatchCreateRequest{Key: []byte(key)}
	if end != "" {
		req.RangeEnd = []byte(end)
	}
	return req
}

func (s *Stream) create(req *pb.WatchCreateRequest, h Handler) (cancel func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	id := s.next
	s.watches[id] = h
	req.WatchId = id
	s.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: req}})
	return func() { s.cancel(id) }
}

func (s *Stream) cancel(id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.watches[id]; !ok {
		return
	}
	delete(s.watches, id)
	req := &pb.WatchCancelRequest{WatchId: id}
	s.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: req}})
}

func (s *Stream) send(req *pb.WatchRequest) {
	s.out = append(s.out, req)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

var errRestart = errors.New("watch: stream restarted")

// Restart ends the present stream and all its watches: for an owner who has seen that it is deaf.
func (s *Stream) Restart() {
	s.mu.Lock()
	restart := s.restart
	s.mu.Unlock()
	if restart != nil {
		restart(errRestart)
	}
}

// Ping asks for any message at all. Whether one has come, Heard tells.
func (s *Stream) Ping() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
}

// Heard is how many messages have come so far.
func (s *Stream) Heard() int64 { return s.heard.Load() }

// Run serves the stream until ctx ends, opening it again when it breaks.
func (s *Stream) Run(ctx context.Context) {
	const minBackoff, maxBackoff = 20 * time.Millisecond, 2 * time.Second
	backoff := minBackoff
	for {
		select {
		case <-ctx.Done():
			s.end(context.Cause(ctx))
			return
		case <-s.wake:
		}
		opened := time.Now()
		s.end(s.serve(ctx))
		if time.Since(opened) > maxBackoff {
			backoff = minBackoff
		}
		t := time.NewTimer(backoff)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// end takes leave of all watches.
func (s *Stream) end(err error) {
	s.mu.Lock()
	watches := s.watches
	s.watches, s.out, s.pending, s.restart = map[int64]Handler{}, nil, nil, nil
	select {
	case <-s.wake: // it was for requests that have ended with the stream
	default:
	}
	s.mu.Unlock()
	for _, h := range watches {
		h.Ended(err)
	}
}

// openTimeout bounds the wait for a connection, which gRPC goes on making; the stream itself lives on.
const openTimeout = 2 * time.Second

// serve is the life of one gRPC stream.
func (s *Stream) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(clientv3.WithRequireLeader(ctx))
	defer cancel(nil)
	s.mu.Lock()
	s.restart = cancel
	s.mu.Unlock()

	patience := time.AfterFunc(openTimeout, func() { cancel(errors.New("watch: no connection in time")) })
	// A transaction that deletes many entries arrives in one piece; gRPC would take 4 MiB for the most.
	stream, err := s.rpc.Watch(ctx, grpc.MaxCallRecvMsgSize(math.MaxInt32))
	patience.Stop()
	if err != nil {
		return reason(ctx, err)
	}
	var sender sync.WaitGroup
	sender.Go(func() { s.sendLoop(ctx, stream) })
	defer sender.Wait()
	defer cancel(nil)
	for {
		resp, err := stream.Recv()
		if err != nil {
			return reason(ctx, err)
		}
		s.deliver(resp)
	}
}

func reason(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return rpctypes.Error(err)
}

func (s *Stream) sendLoop(ctx context.Context, stream pb.Watch_WatchClient) {
	for {
		s.mu.Lock()
		out := s.out
		s.out = nil
		for _, req := range out {
			if create := req.GetCreateRequest(); create != nil {
				s.pending = append(s.pending, create.WatchId)
			}
		}
		s.mu.Unlock()
		for _, req := range out {
			if stream.Send(req) != nil {
				return // Recv tells the reason
			}
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return
		}
	}
}

func (s *Stream) deliver(resp *pb.WatchResponse) {
	s.heard.Add(1)
	s.mu.Lock()
	id := resp.WatchId
	if resp.Created {
		if len(s.pending) == 0 { // not an answer to anything we asked
			s.mu.Unlock()
			return
		}
		// A refused watch carries an ID of -1, so the order has to tell which one it is.
		id, s.pending = s.pending[0], s.pending[1:]
	}
	h, ok := s.watches[id]
	if ok && resp.Canceled {
		delete(s.watches, id)
	}
	s.mu.Unlock()
	switch {
	case !ok: // cancelled by its owner
	case resp.Canceled && resp.CompactRevision > 0:
		h.Ended(rpctypes.ErrCompacted)
	case resp.Canceled:
		err := refusal(resp.CancelReason)
		h.Ended(err)
		if errors.Is(err, rpctypes.ErrInvalidAuthToken) || errors.Is(err, rpctypes.ErrAuthOldRevision) {
			s.Restart() // a stream keeps the token that it was opened with; the next one gets its own
		}
	case resp.Created:
		h.Created(resp.Header.Revision)
	case len(resp.Events) > 0: // else it only says how far etcd is
		h.Events(resp.Events)
	}
}

// refusal turns the text of a refused watch back into the error that etcd's client knows.
func refusal(text string) error {
	for _, known := range []error{rpctypes.ErrGRPCPermissionDenied, rpctypes.ErrGRPCInvalidAuthToken,
		rpctypes.ErrGRPCAuthOldRevision, rpctypes.ErrGRPCUserEmpty} {
		if text == known.Error() {
			return rpctypes.Error(known)
		}
	}
	return fmt.Errorf("watch: etcd ended it: %s", text)
}
