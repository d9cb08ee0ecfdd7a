package concurrency

import (
	"context"
	"errors"
	"strings"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/session"
)

// The errors of Election are those of etcd's package.
var (
	// ErrElectionNotLeader: this Election does not lead (Proclaim), or Resign has ended its Campaign.
	ErrElectionNotLeader = concurrency.ErrElectionNotLeader
	// ErrElectionNoLeader: nobody leads (Leader).
	ErrElectionNoLeader = concurrency.ErrElectionNoLeader
)

// Election is a candidate of a session. It is safe for concurrent use.
type Election struct {
	s     *Session
	pfx   string
	inner *election.Election

	mu     sync.Mutex
	leads  *leadership
	stands context.Context // of Campaigns that wait: it ends when Resign is called
	leave  context.CancelFunc
	asked  int64 // revision of the last successful proposal
	header bool  // there was one
}

// leadership is a key that leads: of a Term, or of a leader that was resumed.
type leadership struct {
	term *election.Term // nil: resumed
	key  string
	rev  int64
}

// NewElection is the election whose keys are under pfx + "/". It does no I/O.
func NewElection(s *Session, pfx string) *Election {
	e := &Election{s: s, pfx: pfx, inner: election.New(s.inner, pfx, election.WithPrefix(pfx))}
	e.stands, e.leave = context.WithCancel(context.Background())
	return e
}

// ResumeElection is the election of a leader that is known: of a process that hands its key and its create revision on. Proclaim and Resign
// act on that key. It does no I/O.
func ResumeElection(s *Session, pfx string, leaderKey string, leaderRev int64) *Election {
	e := NewElection(s, strings.TrimSuffix(pfx, "/"))
	e.leads = &leadership{key: leaderKey, rev: leaderRev}
	return e
}

// Campaign waits until this session leads, and puts val where all can read it. If the session leads here already it proclaims val, and does
// not wait. When ctx ends Campaign returns the ctx's error, and the candidacy is deleted in the background. ErrSessionExpired: the session has
// ended. ErrElectionNotLeader: Resign was called meanwhile.
func (e *Election) Campaign(ctx context.Context, val string) error {
	if t := e.s.leading(e.pfx); t != nil {
		if err := t.Proclaim(ctx, val); err == nil || ctx.Err() != nil {
			return e.won(ctx, t, err)
		} // else the term has ended meanwhile
	}
	waiting, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	e.mu.Lock()
	defer context.AfterFunc(e.stands, func() { stop(ErrElectionNotLeader) })()
	e.mu.Unlock()
	t, err := e.inner.Campaign(waiting, val)
	if err == nil && e.s.lost() {
		_ = t.Resign(ctx) // the request is the session's, and goes on when ctx ends
		err = session.ErrClosed
	}
	if errors.Is(context.Cause(waiting), ErrElectionNotLeader) {
		if err == nil {
			_ = t.Resign(ctx) // the request is the session's, and goes on when ctx ends
		}
		return ErrElectionNotLeader
	}
	return e.won(ctx, t, err)
}

// won notes a term, if err is nil.
func (e *Election) won(ctx context.Context, t *election.Term, err error) error {
	if err != nil {
		return e.s.failed(ctx, err)
	}
	e.s.mu.Lock()
	e.s.terms[e.pfx] = t
	e.s.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.leads = &leadership{t, t.Key(), t.Token().Revision()}
	e.asked, e.header = e.leads.rev, true
	return nil
}

// leading is the session's term under that prefix, if it stands.
func (s *Session) leading(pfx string) *election.Term {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.terms[pfx]; t != nil && t.Context().Err() == nil {
		return t
	}
	return nil
}

// Proclaim changes the value of the leader. ErrElectionNotLeader: this Election does not lead, or not any more.
func (e *Election) Proclaim(ctx context.Context, val string) error {
	of := e.leader()
	if of == nil {
		return ErrElectionNotLeader
	}
	err := e.proclaim(ctx, of, val)
	if errors.Is(err, ErrElectionNotLeader) {
		e.forget(of)
	}
	return err
}

func (e *Election) proclaim(ctx context.Context, of *leadership, val string) error {
	if of.term != nil {
		err := of.term.Proclaim(ctx, val)
		switch {
		case err == nil:
			e.proposed(of.rev)
			return nil
		case errors.Is(err, session.ErrLost), errors.Is(err, session.ErrNotHeld), errors.Is(err, session.ErrClosed):
			return ErrElectionNotLeader
		}
		return e.s.failed(ctx, err)
	}
	resp, err := e.s.client.Txn(ctx).If(of.stands()).Then(clientv3.OpPut(of.key, val, clientv3.WithLease(e.s.lease))).Commit()
	switch {
	case err != nil:
		return err
	case !resp.Succeeded:
		return ErrElectionNotLeader
	}
	e.proposed(resp.Header.Revision)
	return nil
}

// Resign ends the leadership, and the next candidate leads. If this Election waits in Campaign, that ends. If it does neither, Resign does
// nothing.
func (e *Election) Resign(ctx context.Context) error {
	e.mu.Lock()
	of := e.leads
	e.leads = nil
	e.leave()
	e.stands, e.leave = context.WithCancel(context.Background())
	e.mu.Unlock()
	switch {
	case of == nil:
		return nil
	case of.term != nil:
		err := of.term.Resign(ctx)
		if errors.Is(err, session.ErrLost) || errors.Is(err, session.ErrNotHeld) || errors.Is(err, session.ErrClosed) {
			return nil // it has ended
		}
		return err
	}
	resp, err := e.s.client.Txn(ctx).If(of.stands()).Then(clientv3.OpDelete(of.key)).Commit()
	if err != nil {
		return err
	}
	e.proposed(resp.Header.Revision)
	return nil
}

// Leader reads the key of the leader, linearizably. ErrElectionNoLeader: nobody leads.
func (e *Election) Leader(ctx context.Context) (*clientv3.GetResponse, error) {
	resp, err := e.s.client.Get(ctx, e.pfx+"/", clientv3.WithFirstCreate()...)
	if err != nil {
		return nil, err
	}
	if len(resp.Kvs) == 0 {
		return nil, ErrElectionNoLeader
	}
	return resp, nil
}

// Observe sends the key of the present leader, and again after each change of leader or value. A slow receiver gets the latest, not all. It
// goes on through compaction and lost connections; the channel is closed when ctx ends, the client is closed, or etcd denies access.
func (e *Election) Observe(ctx context.Context) <-chan *clientv3.GetResponse {
	to := make(chan *clientv3.GetResponse)
	go func() {
		defer close(to)
		e.observe(ctx, to)
	}()
	return to
}

func (e *Election) observe(ctx context.Context, to chan<- *clientv3.GetResponse) {
	var shown int64 // mod revision
	for leader, err := range election.Observe(ctx, e.s.client, e.pfx, election.WithPrefix(e.pfx)) {
		if err != nil {
			return
		}
		if leader.Key == "" {
			continue
		}
		resp, err := e.s.client.Get(ctx, leader.Key) // what it has become, if it has changed since
		if err != nil || len(resp.Kvs) == 0 || resp.Kvs[0].ModRevision <= shown {
			continue
		}
		shown = resp.Kvs[0].ModRevision
		select {
		case to <- resp:
		case <-ctx.Done():
			return
		}
	}
}

// Key is the leader's key if this Election leads, or "".
func (e *Election) Key() string {
	if of := e.leader(); of != nil {
		return of.key
	}
	return ""
}

// Rev is the create revision of that key, or 0.
func (e *Election) Rev() int64 {
	if of := e.leader(); of != nil {
		return of.rev
	}
	return 0
}

// Header is the header of a read of etcd that came after the last successful proposal, or nil if there was none. It is read when it is asked for.
func (e *Election) Header() *pb.ResponseHeader {
	e.mu.Lock()
	revision, any := e.asked, e.header
	e.mu.Unlock()
	if !any {
		return nil
	}
	return e.s.header(revision)
}

// Term is the term beneath, with its Context, Token and Guard; nil while this Election does not lead, or was resumed.
func (e *Election) Term() *election.Term {
	if of := e.leader(); of != nil {
		return of.term
	}
	return nil
}

func (e *Election) leader() *leadership {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.leads
}

func (e *Election) forget(of *leadership) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.leads == of {
		e.leads = nil
	}
}

func (e *Election) proposed(revision int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked, e.header = revision, true
}

func (l *leadership) stands() clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(l.key), "=", l.rev)
}
