package fencetest

import (
	"context"
	"path"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Request is a message on its way to etcd.
type Request struct {
	Node    string        // whose
	Method  string        // Range, Put, DeleteRange, Txn, LeaseGrant, LeaseKeepAlive, …; Watch, WatchCancel or WatchProgress
	Number  int           // counts all requests, from 1
	Message proto.Message // etcd's own: *etcdserverpb.TxnRequest, … It must not be changed
}

// Fate is what becomes of a Request. The zero value is that nothing does.
type Fate struct {
	Delay       time.Duration // before etcd has it
	AnswerDelay time.Duration // before the answer leaves etcd; of a watch, before each of its messages
	Lost        bool          // etcd never has it, and nobody says so
	AnswerLost  bool          // etcd does it, and nobody says so
	Broken      bool          // with Lost or AnswerLost: the sender hears at once that the connection has ended
	TooLate     bool          // etcd has it only when its sender has given up, and Delay after that
}

// names are what Faults counts.
func (f Fate) names() (all []string) {
	for _, c := range []struct {
		name string
		is   bool
	}{{"lost", f.Lost}, {"answer lost", f.AnswerLost}, {"broken", f.Broken}, {"too late", f.TooLate}, {"delayed", f.Delay > 0},
		{"answer delayed", f.AnswerDelay > 0}} {
		if c.is {
			all = append(all, c.name)
		}
	}
	return all
}

func (f Fate) String() string {
	s := strings.Join(f.names(), ", ")
	if f.Delay > 0 {
		s += " " + f.Delay.String()
	}
	if f.AnswerDelay > 0 {
		s += " " + f.AnswerDelay.String()
	}
	return s
}

// Decide lets f say what becomes of each request, until it is called again; nil: nothing. f must not block.
func (e *Etcd) Decide(f func(Request) Fate) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.decide = f
}

// fateOf counts a request, and asks for its fate.
func (e *Etcd) fateOf(node, method string, r proto.Message) (Fate, int) {
	e.mu.Lock()
	e.requests++
	number, decide := e.requests, e.decide
	e.mu.Unlock()
	if decide == nil {
		return Fate{}, number
	}
	return decide(Request{node, method, number, r}), number
}

// Requests is how many there were, renewals and requests to watch among them.
func (e *Etcd) Requests() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.requests
}

// unary is what all requests pass but those of streams.
func (m *member) unary(ctx context.Context, r any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	return m.meet(ctx, path.Base(info.FullMethod), r.(proto.Message), func(ctx context.Context) (any, error) { return handler(ctx, r) })
}

// meet has a request meet its fate.
func (m *member) meet(ctx context.Context, method string, r proto.Message, do func(context.Context) (any, error)) (any, error) {
	e, node := m.etcd, nodeOf(ctx)
	fate, number := e.fateOf(node, method, r)
	e.asked(node, number, method, r, fate)
	switch {
	case fate.Lost && fate.Broken:
		return nil, errUnavailable
	case fate.Lost:
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	case fate.TooLate:
		<-ctx.Done()
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), fate.Delay+time.Minute)
		defer cancel()
		defer context.AfterFunc(e.over, cancel)() // neither its sender nor the connection ends it, but the test
		if !sleep(late, fate.Delay) {
			return nil, status.FromContextError(ctx.Err()).Err()
		}
		_, err := do(late)
		e.answered(node, number, nil, err)
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if !sleep(ctx, fate.Delay) {
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	resp, err := do(ctx)
	e.answered(node, number, resp, err)
	switch {
	case fate.AnswerLost && fate.Broken:
		return nil, errUnavailable
	case fate.AnswerLost:
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if !sleep(ctx, fate.AnswerDelay) {
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	return resp, err
}

func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

var errUnavailable = status.Error(codes.Unavailable, "fencetest: the connection has ended")
