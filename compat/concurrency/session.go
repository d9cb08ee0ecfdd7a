package concurrency

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/session"
)

const defaultSessionTTL = 60 // seconds

// The bounds of session.WithTTL.
const (
	leastTTL = 2 * time.Second
	mostTTL  = 24 * time.Hour
)

// Session is a lease that is kept alive for as long as its client, its context and etcd allow. It ends with the lease, and does not take
// another one.
type Session struct {
	client *clientv3.Client
	inner  *session.Session
	lease  clientv3.LeaseID
	ttl    time.Duration
	base   context.Context // of WithContext, or the client's

	ctx    context.Context // ends with the session
	cancel context.CancelFunc
	done   chan struct{}
	once   sync.Once

	mu     sync.Mutex
	over   bool                      // the inner session has ended, and its lease may live
	closed bool                      // and the lease was given back
	terms  map[string]*election.Term // that were won last, by prefix
}

type sessionOptions struct {
	ttl       int
	lease     clientv3.LeaseID
	ctx       context.Context
	namespace string
}

// SessionOption configures a Session.
type SessionOption func(*sessionOptions)

// WithTTL sets the session's TTL in seconds. The default, also for 0 and less, is 60.
func WithTTL(ttl int) SessionOption {
	return func(o *sessionOptions) {
		if ttl > 0 {
			o.ttl = ttl
		}
	}
}

// WithLease makes the session go on with a lease that exists, of a process that has ended or a session that was orphaned. The first Lock
// and the first Campaign of a prefix then take over the key that stands there under the lease.
func WithLease(id clientv3.LeaseID) SessionOption { return func(o *sessionOptions) { o.lease = id } }

// WithContext sets the context of the session, in place of the client's. When it ends the session ends, as by Orphan: its lease is left to run
// out. NewSession and Close end with it, too.
func WithContext(ctx context.Context) SessionOption {
	return func(o *sessionOptions) { o.ctx = ctx }
}

// WithNamespace sets the prefix of the session's record in etcd, which etcd's package does not have. The default is "fenceline/".
func WithNamespace(prefix string) SessionOption {
	return func(o *sessionOptions) { o.namespace = prefix }
}

// NewSession takes a lease, and keeps it alive until Close, Orphan, the end of the context, or the loss of the lease. The error says why etcd
// gave none; without a deadline in the context it comes after 5 s.
func NewSession(client *clientv3.Client, opts ...SessionOption) (*Session, error) {
	if client == nil {
		return nil, errors.New("concurrency: the client is nil")
	}
	o := sessionOptions{ttl: defaultSessionTTL, ctx: client.Ctx(), namespace: "fenceline/"}
	for _, opt := range opts {
		opt(&o)
	}
	s := &Session{client: client, base: o.ctx, ttl: min(max(time.Duration(o.ttl)*time.Second, leastTTL), mostTTL), done: make(chan struct{}),
		terms: map[string]*election.Term{}}
	s.ctx, s.cancel = context.WithCancel(o.ctx)
	inner, err := session.Open(o.ctx, client, session.WithTTL(s.ttl), session.WithLease(o.lease), session.WithNamespace(o.namespace),
		session.WithTrace(&session.Trace{StateChanged: func(_, to session.State, _ error) {
			if to == session.Down || to == session.Closed {
				s.end()
			}
		}}))
	if err != nil {
		s.cancel()
		if o.ctx.Err() != nil {
			return nil, o.ctx.Err()
		}
		return nil, err
	}
	s.inner, s.lease = inner, inner.Lease()
	context.AfterFunc(s.ctx, func() { _ = s.orphan() }) // also when the inner session ends, or base
	if s.lease == clientv3.NoLease {                    // lost already
		s.end()
	}
	return s, nil
}

// end is the end of the session for its users. All else follows.
func (s *Session) end() {
	s.cancel()
	s.once.Do(func() { close(s.done) })
}

// orphan ends the session, and leaves its lease. It returns when all has ended.
func (s *Session) orphan() error {
	s.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil
	}
	s.over = true
	ctx := context.WithoutCancel(s.base)
	if s.lost() {
		return s.inner.Close(ctx)
	}
	return s.inner.Orphan(ctx)
}

// lost says that the lease has gone, and that there may be another by now, under which nothing is to be held: the session is about to end. What
// was granted before is lost with it. (Of more than 128 keys some hang on further leases, which live and end with the first.)
func (s *Session) lost() bool { return s.inner.Lease() != s.lease }

// Client is the one given to NewSession.
func (s *Session) Client() *clientv3.Client { return s.client }

// Lease is the session's lease, also after its end.
func (s *Session) Lease() clientv3.LeaseID { return s.lease }

// Ctx ends when the lease is orphaned, lost, or no longer renewed in time. It carries the values of WithContext's.
func (s *Session) Ctx() context.Context { return s.ctx }

// Done is closed when Ctx ends.
func (s *Session) Done() <-chan struct{} { return s.done }

// Inner is the fenceline session beneath. It ends with this one.
func (s *Session) Inner() *session.Session { return s.inner }

// Orphan ends the session and leaves the lease, with all keys under it, to run out, or to another session that goes on WithLease.
func (s *Session) Orphan() { _ = s.orphan() } // it fails only in waiting, and etcd's has no error here

// Close ends the session and revokes its lease, which frees at once what it holds. A session that was orphaned before has its lease revoked,
// too; one whose context has ended leaves it, and Close returns the context's error. A second Close does nothing.
func (s *Session) Close() error {
	ctx, cancel := context.WithTimeout(s.base, s.ttl) // after that the lease has run out
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.end()
	if err := s.base.Err(); err != nil {
		return err
	}
	if s.closed {
		return nil
	}
	if !s.over {
		s.over, s.closed = true, true
		return s.inner.Close(ctx)
	}
	_, err := s.client.Revoke(ctx, s.lease)
	if err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return fmt.Errorf("concurrency: revoke lease %x: %w", int64(s.lease), err)
	}
	s.closed = true
	return nil
}

// failed is the error of a call, in the words of etcd's package where it has some.
func (s *Session) failed(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, session.ErrClosed), errors.Is(err, session.ErrLost), s.ctx.Err() != nil:
		return ErrSessionExpired
	}
	return err
}
