package fencetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	"github.com/fenceline/fenceline/fencetest/internal/store"
)

// batch is how many revisions a watch that begins in the past gets in one message.
const batch = 1000

type watchServer struct {
	pb.UnimplementedWatchServer
	*member
}

// watchStream is one stream of watches. What it has to say waits in a queue, and leaves in order.
type watchStream struct {
	member   *member
	node     string
	watchers map[int64]*watcher
	order    []int64 // in which they were made
	nextID   int64
	queue    []due
	latest   time.Duration // when the last of the queue is due
	wake     chan struct{}
	silent   bool
	ended    chan struct{}
	once     sync.Once
}

// due is a message, and when it leaves.
type due struct {
	at   time.Duration
	resp *pb.WatchResponse
}

type watcher struct {
	id        int64
	from, end []byte
	next      int64 // revision of which it is to be told next
	prev      bool
	fragment  bool
	noPut     bool
	noDelete  bool
	delay     time.Duration
	dead      bool // its past was compacted
}

func (w *watcher) covers(name []byte) bool {
	switch {
	case len(w.end) == 0:
		return bytes.Equal(name, w.from)
	case len(w.end) == 1 && w.end[0] == 0:
		return bytes.Compare(name, w.from) >= 0
	}
	return bytes.Compare(name, w.from) >= 0 && bytes.Compare(name, w.end) < 0
}

func (s watchServer) Watch(stream pb.Watch_WatchServer) error {
	ctx, e := stream.Context(), s.etcd
	ws := &watchStream{member: s.member, node: nodeOf(ctx), watchers: map[int64]*watcher{}, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	e.mu.Lock()
	s.streams = append(s.streams, ws)
	e.mu.Unlock()
	sending, cancel := context.WithCancel(ctx)
	var sender sync.WaitGroup
	sender.Go(func() { ws.send(sending, stream) })
	requests := make(chan *pb.WatchRequest)
	failed := make(chan error, 1)
	go func() { // Recv may outlive this call
		for {
			r, err := stream.Recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case requests <- r:
			case <-sending.Done():
				return
			}
		}
	}()
	err := s.serve(ctx, ws, requests, failed)
	cancel()
	e.mu.Lock()
	s.streams = slices.DeleteFunc(s.streams, func(o *watchStream) bool { return o == ws })
	e.mu.Unlock()
	sender.Wait()
	return err
}

func (s watchServer) serve(ctx context.Context, ws *watchStream, requests chan *pb.WatchRequest, failed chan error) error {
	for {
		select {
		case r := <-requests:
			method, message := methodOf(r)
			fate, number := s.etcd.fateOf(ws.node, method, message)
			s.etcd.asked(ws.node, number, method, message, fate)
			if !sleep(ctx, fate.Delay) {
				return rpctypes.ErrGRPCWatchCanceled
			}
			if !fate.Lost {
				s.take(ctx, ws, r, fate)
			}
		case err := <-failed:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return rpctypes.ErrGRPCWatchCanceled
		case <-ws.ended:
			return errUnavailable
		case <-ctx.Done():
			return rpctypes.ErrGRPCWatchCanceled
		}
	}
}

func methodOf(r *pb.WatchRequest) (string, proto.Message) {
	switch u := r.RequestUnion.(type) {
	case *pb.WatchRequest_CreateRequest:
		return "Watch", u.CreateRequest
	case *pb.WatchRequest_CancelRequest:
		return "WatchCancel", u.CancelRequest
	}
	return "WatchProgress", r
}

// take does what is asked for.
func (s watchServer) take(ctx context.Context, ws *watchStream, r *pb.WatchRequest, fate Fate) {
	e := s.etcd
	e.mu.Lock()
	defer e.mu.Unlock()
	switch u := r.RequestUnion.(type) {
	case *pb.WatchRequest_CreateRequest:
		if u.CreateRequest != nil {
			s.create(ctx, ws, u.CreateRequest, fate.AnswerDelay)
		}
	case *pb.WatchRequest_CancelRequest:
		if c := u.CancelRequest; c != nil && ws.watchers[c.WatchId] != nil {
			ws.drop(c.WatchId)
			ws.say(fate.AnswerDelay, &pb.WatchResponse{WatchId: c.WatchId, Canceled: true})
		}
	case *pb.WatchRequest_ProgressRequest:
		if len(ws.watchers) == 0 {
			return
		}
		for _, w := range ws.watchers {
			if w.next > s.applied+1 {
				return // it is in the future
			}
		}
		ws.say(fate.AnswerDelay, &pb.WatchResponse{WatchId: clientv3.InvalidWatchID})
	}
}

func (s watchServer) create(ctx context.Context, ws *watchStream, r *pb.WatchCreateRequest, delay time.Duration) {
	refuse := func(reason string) {
		ws.say(delay, &pb.WatchResponse{WatchId: clientv3.InvalidWatchID, Created: true, Canceled: true, CancelReason: reason})
	}
	if len(r.Key) == 0 {
		r.Key = []byte{0}
	}
	if r.StartRevision < 0 {
		refuse(rpctypes.ErrCompacted.Error())
		return
	}
	user, err := s.user(ctx)
	if err == nil {
		err = s.etcd.store.May(user, false, r.Key, r.RangeEnd)
	}
	if err != nil {
		refuse(err.Error())
		return
	}
	if !(len(r.RangeEnd) == 1 && r.RangeEnd[0] == 0) && len(r.RangeEnd) != 0 && bytes.Compare(r.Key, r.RangeEnd) >= 0 {
		refuse("mvcc: watcher range is empty")
		return
	}
	w := &watcher{id: r.WatchId, from: r.Key, end: r.RangeEnd, next: r.StartRevision, prev: r.PrevKv, fragment: r.Fragment, delay: delay}
	for _, f := range r.Filters {
		w.noPut = w.noPut || f == pb.WatchCreateRequest_NOPUT
		w.noDelete = w.noDelete || f == pb.WatchCreateRequest_NODELETE
	}
	if w.id == clientv3.AutoWatchID {
		for ws.watchers[ws.nextID] != nil {
			ws.nextID++
		}
		w.id = ws.nextID
		ws.nextID++
	} else if ws.watchers[w.id] != nil {
		refuse("mvcc: duplicate watch ID provided on the WatchStream")
		return
	}
	if w.next == 0 {
		w.next = s.applied + 1
	}
	ws.watchers[w.id] = w
	ws.order = append(ws.order, w.id)
	ws.say(delay, &pb.WatchResponse{WatchId: w.id, Created: true})
	if w.next < s.etcd.store.Compacted() {
		w.dead = true // and keeps its ID until it is cancelled
		ws.say(delay, &pb.WatchResponse{WatchId: w.id, Canceled: true, CompactRevision: s.etcd.store.Compacted()})
		return
	}
	ws.tell(w, batch)
}

func (ws *watchStream) drop(id int64) {
	delete(ws.watchers, id)
	for i, o := range ws.order {
		if o == id {
			ws.order = append(ws.order[:i:i], ws.order[i+1:]...)
			return
		}
	}
}

// flush tells all watches of a member what it has applied.
func (m *member) flush() {
	for _, ws := range m.streams {
		for _, id := range ws.order {
			ws.tell(ws.watchers[id], 1)
		}
	}
}

// tell queues what a watch does not know: so many revisions in a message at most.
func (ws *watchStream) tell(w *watcher, revisions int) {
	m := ws.member
	if w.dead || w.next > m.applied {
		return
	}
	events := m.etcd.store.Events(w.next, m.applied, w.covers)
	w.next = m.applied + 1
	for len(events) > 0 {
		n, seen := 0, 0
		for ; n < len(events); n++ {
			if n == 0 || events[n].Revision != events[n-1].Revision {
				if seen++; seen > revisions {
					break
				}
			}
		}
		if resp := w.response(events[:n], m.etcd.store.Compacted()); len(resp.Events) > 0 {
			resp.Header = &pb.ResponseHeader{Revision: m.applied}
			if revisions == 1 {
				resp.Header.Revision = events[n-1].Revision
			}
			for _, part := range w.parts(resp) {
				ws.say(w.delay, part)
			}
		}
		events = events[n:]
	}
}

func (w *watcher) response(events []store.Event, compacted int64) *pb.WatchResponse {
	resp := &pb.WatchResponse{WatchId: w.id}
	for _, ev := range events {
		if ev.Event.Type == mvccpb.Event_PUT && w.noPut || ev.Event.Type == mvccpb.Event_DELETE && w.noDelete {
			continue
		}
		out := &mvccpb.Event{Type: ev.Event.Type, Kv: ev.Event.Kv}
		if w.prev && ev.Revision > compacted {
			out.PrevKv = ev.Prev
		}
		resp.Events = append(resp.Events, out)
	}
	return resp
}

// parts are a message in pieces that are not too large, if the watch may have it so.
func (w *watcher) parts(resp *pb.WatchResponse) []*pb.WatchResponse {
	if !w.fragment || proto.Size(resp) < maxRequest {
		return []*pb.WatchResponse{resp}
	}
	var all []*pb.WatchResponse
	part := &pb.WatchResponse{Header: resp.Header, WatchId: resp.WatchId, Fragment: true}
	size := 0
	for _, ev := range resp.Events {
		if n := proto.Size(ev); len(part.Events) > 0 && size+n >= maxRequest {
			all = append(all, part)
			part, size = &pb.WatchResponse{Header: resp.Header, WatchId: resp.WatchId, Fragment: true}, 0
		}
		part.Events = append(part.Events, ev)
		size += proto.Size(ev)
	}
	part.Fragment = false
	return append(all, part)
}

// say queues a message. It is called with the Etcd's mutex held.
func (ws *watchStream) say(delay time.Duration, resp *pb.WatchResponse) {
	e := ws.member.etcd
	if resp.Header == nil {
		resp.Header = &pb.ResponseHeader{}
	}
	ws.member.fill(resp.Header)
	ws.latest = max(ws.latest, e.now()+delay)
	ws.queue = append(ws.queue, due{ws.latest, resp})
	ws.nudge()
}

func (ws *watchStream) nudge() {
	select {
	case ws.wake <- struct{}{}:
	default:
	}
}

// send sends what is due, until ctx ends.
func (ws *watchStream) send(ctx context.Context, stream pb.Watch_WatchServer) {
	e := ws.member.etcd
	for {
		e.mu.Lock()
		var next *due
		if len(ws.queue) > 0 && !ws.silent {
			next = &ws.queue[0]
		}
		now := e.now()
		if next != nil && next.at <= now {
			ws.queue = ws.queue[1:]
			e.script.told(now, ws.node, next.resp)
		}
		e.mu.Unlock()
		switch {
		case next == nil:
			select {
			case <-ws.wake:
			case <-ctx.Done():
				return
			}
		case next.at > now:
			if !sleep(ctx, next.at-now) {
				return
			}
		default:
			if stream.Send(next.resp) != nil {
				return
			}
		}
	}
}

// Silence keeps the watch streams that a Node has now from telling anything more, without ending them. Streams that it opens later are well.
func (n *Node) Silence() {
	n.etcd.note(n.name, "its streams of watches fall silent")
	n.streams(func(ws *watchStream) { ws.silent = true })
}

// EndWatches ends them.
func (n *Node) EndWatches() {
	n.etcd.note(n.name, "its streams of watches end")
	n.streams(func(ws *watchStream) { ws.once.Do(func() { close(ws.ended) }) })
}

func (n *Node) streams(f func(*watchStream)) {
	n.etcd.mu.Lock()
	defer n.etcd.mu.Unlock()
	for _, m := range n.etcd.members {
		for _, ws := range m.streams {
			if ws.node == n.name {
				f(ws)
			}
		}
	}
}
