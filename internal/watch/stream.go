// Package watch keeps one watch stream open to etcd and delivers its events by callback.
//
// It exists beside clientv3.Watcher for what a line needs. A watch costs no goroutine here, so that a thousand held
// locks stay cheap; requests to create watches follow each other without waiting for the answers, where the client
// pays a round trip each; and an event goes from the connection to the waiter in one step. In return it promises
// less: a watch that ends, for whatever reason, has ended, and its owner lists again and watches again, as the owner
// has to anyway.
//
// Watches start "from now" (revision 0). A watch that starts at a past revision is served by etcd on a tick of 100 ms.
//
// # What the server decides
//
// The ID of a watch is the one in its Created answer. etcd takes the ID that the request proposes, and then many
// requests may be on their way at once. `etcd grpc-proxy` gives IDs of its own, and may answer in another order: then
// the next request waits for the answer to the last. Which of the two it is, the first answer of a stream shows.
//
// # Silence
//
// A connection that has died in silence tells nothing. So the stream asks after some seconds of silence whether
// anybody is there, by creating a watch on a key of nobody's, which every server answers, proxies included. While
// somebody relies on silence (see Alive and Rely) it asks after one. A stream that leaves a question unanswered is
// ended, and all its watches with it.
package watch

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/fenceline/fenceline/internal/etcd"
)

// Handler receives what happens to one watch, in order, from the stream's goroutine: it must not block. After Ended,
// or after the watch was cancelled, nothing follows, but for a call that is under way at that moment.
type Handler interface {
	// Created says that all events after revision will be delivered; earlier ones may be. Zero: the server has not told
	// the revision.
	Created(revision int64)
	Events([]*mvccpb.Event)
	Ended(err error)
}

// Stream is one gRPC stream with many watches. The zero value is not usable.
type Stream struct {
	rpc      pb.WatchClient
	probeKey string
	reopen   etcd.Backoff // how long to wait before a stream that broke is opened again
	listener listener

	mu       sync.Mutex
	watches  map[*watched]bool  // all that have not ended
	byID     map[int64]*watched // of these, the answered ones, by the server's ID
	asked    []*watched         // not sent yet
	cancels  []int64            // not sent yet
	pending  map[int64]*watched // sent and not answered, by the ID that was proposed
	since    int64              // when asked or pending ceased to be empty; see listener
	refused  []error            // answers that do not say which of pending they refuse
	proposed int64              // the last ID that was
	ids      idRule
	early    map[int64][]*mvccpb.Event // by an ID that no answer has named yet
	restart  context.CancelCauseFunc
	wake     chan struct{} // there is something to send
}

// idRule says whose IDs the server uses.
type idRule int

const (
	unknownIDs idRule = iota
	ourIDs
	serverIDs
)

// watched is one watch.
type watched struct {
	Handler
	req       *pb.WatchCreateRequest
	id        int64 // the server's, once answered
	answered  bool
	cancelled bool
	probe     bool // of interest is only that it is answered
}

// firstID is larger than any that a server would count up to by itself.
const firstID = 1 << 40

// New makes a stream that opens when the first watch is asked for. It does nothing until Run is called. Whoever may use
// the stream must be allowed to read probeKey; nobody needs to write it.
func New(rpc pb.WatchClient, probeKey string, opts ...Option) *Stream {
	s := &Stream{rpc: rpc, probeKey: probeKey, reopen: etcd.Steady, wake: make(chan struct{}, 1)}
	s.listener.made, s.listener.wake = time.Now(), make(chan struct{}, 1)
	s.reset()
	for _, opt := range opts {
		opt(s)
	}
	return s
}

// Option changes a Stream.
type Option func(*Stream)

// WithLogin is for a client with a password: it logs in for each stream that is opened, which costs etcd some 100 ms of
// a processor and a proposal. A stream that broke is then opened again after half a second instead of at once.
func WithLogin() Option { return func(s *Stream) { s.reopen.First = 500 * time.Millisecond } }

// reset begins with a stream of which nothing is known. It is called with the mutex held.
func (s *Stream) reset() {
	s.watches, s.byID, s.pending = map[*watched]bool{}, map[int64]*watched{}, map[int64]*watched{}
	s.asked, s.cancels, s.refused, s.early, s.restart, s.ids = nil, nil, nil, nil, nil, unknownIDs
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
	w := &watched{Handler: h, req: req}
	s.watches[w] = true
	s.ask(w)
	return func() { s.cancel(w) }
}

// ask has a watch asked for. It is called with the mutex held.
func (s *Stream) ask(w *watched) {
	if len(s.asked) == 0 && len(s.pending) == 0 {
		s.since = s.listener.now()
	}
	s.asked = append(s.asked, w)
	signal(s.wake)
}

func (s *Stream) cancel(w *watched) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.watches[w] {
		return
	}
	delete(s.watches, w)
	w.cancelled = true
	if w.answered { // else its answer tells which ID to cancel
		s.giveUp(w)
	}
}

// giveUp has the server end an answered watch. It is called with the mutex held.
func (s *Stream) giveUp(w *watched) {
	delete(s.byID, w.id)
	s.cancels = append(s.cancels, w.id)
	signal(s.wake)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

var errRestart = errors.New("watch: stream restarted")

// Restart ends the present stream and all its watches: for an owner who has seen that it is deaf.
func (s *Stream) Restart() { s.endWith(errRestart) }

func (s *Stream) endWith(err error) {
	s.mu.Lock()
	restart := s.restart
	s.mu.Unlock()
	if restart != nil {
		restart(err)
	}
}

// Run serves the stream until ctx ends, opening it again when it breaks.
func (s *Stream) Run(ctx context.Context) {
	for failed := 1; ; failed++ {
		select {
		case <-ctx.Done():
			s.end(context.Cause(ctx))
			return
		case <-s.wake:
		}
		opened := time.Now()
		s.end(s.serve(ctx))
		if time.Since(opened) > s.reopen.Longest {
			failed = 1
		}
		s.reopen.Sleep(ctx, failed)
	}
}

// end takes leave of all watches.
func (s *Stream) end(err error) {
	s.mu.Lock()
	watches := s.watches
	s.reset()
	s.listener.heard.Store(0)
	select {
	case <-s.wake: // it was for requests that have ended with the stream
	default:
	}
	s.mu.Unlock()
	for w := range watches {
		w.Ended(err)
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
	var helpers sync.WaitGroup
	helpers.Go(func() { s.sendLoop(ctx, stream) })
	helpers.Go(func() { s.listen(ctx) })
	defer helpers.Wait()
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
		for _, req := range s.batch() {
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

// batch is what may be sent now.
func (s *Stream) batch() []*pb.WatchRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*pb.WatchRequest
	for _, id := range s.cancels {
		req := &pb.WatchCancelRequest{WatchId: id}
		out = append(out, &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: req}})
	}
	s.cancels = nil
	for len(s.asked) > 0 && s.answersAreClear() {
		w := s.asked[0]
		s.asked = s.asked[1:]
		if w.cancelled {
			continue
		}
		s.proposed = max(s.proposed, firstID) + 1
		w.req.WatchId = s.proposed
		s.pending[s.proposed] = w
		out = append(out, &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: w.req}})
	}
	return out
}

// answersAreClear says whether one more request could be told from those on their way by its answer.
func (s *Stream) answersAreClear() bool {
	return len(s.pending) == 0 || s.ids == ourIDs && len(s.refused) == 0
}
