package session

import (
	"context"
	"fmt"
	"log/slog"
	"time"
	"unicode/utf8"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/internal/witness"
)

// Session is one lease after another, and what hangs on them. It is safe for concurrent use.
type Session struct{ keeper *keeper.Keeper }

// Open takes the first lease and starts renewing it. ctx bounds that first step only. A cluster that cannot be
// reached is reported within ctx, or within 5 s when ctx has no deadline, with the transport's reason. An invalid
// option is an error before any request. After an error nothing is left in etcd beyond the TTL.
//
// The caller keeps the client and closes it after the Session. A client wrapped by
// clientv3/namespace is refused: WithNamespace is for that.
func Open(ctx context.Context, client *clientv3.Client, opts ...Option) (*Session, error) {
	o := options{ttl: 15 * time.Second, namespace: "fenceline/", log: slog.New(slog.DiscardHandler)}
	for _, opt := range opts {
		opt(&o)
	}
	if o.log == nil {
		o.log = slog.New(slog.DiscardHandler)
	}
	if err := o.check(client); err != nil {
		return nil, err
	}
	record, err := o.record()
	if err != nil {
		return nil, err
	}
	teller, secret := o.witnessTold()
	k, err := keeper.Open(ctx, keeper.Config{Witness: teller, Secret: secret, Client: client, TTL: o.ttl, Lease: o.lease, Namespace: o.namespace, Record: record,
		Log: o.log, Hooks: hooksOf(o.traces), Meter: o.meter, Labels: o.profile})
	if err != nil {
		return nil, fmt.Errorf("session: open: %w", err)
	}
	return &Session{k}, nil
}

func (o *options) check(client *clientv3.Client) error {
	if err := etcd.Usable(client, "WithNamespace"); err != nil {
		return fmt.Errorf("session: open: %w", err)
	}
	if o.namespace == "" || len(o.namespace) > keyspace.MaxName || !utf8.ValidString(o.namespace) {
		return fmt.Errorf("session: namespace %q: want 1 to %d bytes of UTF-8", o.namespace, keyspace.MaxName)
	}
	if o.lease < 0 {
		return fmt.Errorf("session: lease %x: want the ID of a lease, which is positive", int64(o.lease))
	}
	return keeper.CheckTTL(o.ttl)
}

// Client is the one given to Open.
func (s *Session) Client() *clientv3.Client { return s.keeper.Client }

// Context ends at Close, with ErrClosed. It does not end when a lease is lost; a hold's own Context does.
func (s *Session) Context() context.Context { return s.keeper.Context() }

// State of a Session.
type State int

const (
	Live    State = iota // renewed in time
	Suspect              // a renewal is overdue; nothing is lost yet
	Down                 // no lease; the next one is being fetched
	Closed
)

// String is the state in lower case.
func (s State) String() string {
	switch s {
	case Live:
		return "live"
	case Suspect:
		return "suspect"
	case Down:
		return "down"
	case Closed:
		return "closed"
	}
	return fmt.Sprintf("State(%d)", int(s))
}

// State looks at memory and the clock, and asks nobody.
func (s *Session) State() State { return State(s.keeper.State()) }

// Lease is the present one; clientv3.NoLease while Down or after Close. A Session with more than some 128 entries in etcd has
// further leases for them, which are renewed, lost and given back with this one.
func (s *Session) Lease() clientv3.LeaseID {
	if e := s.keeper.Current(); e != nil {
		return e.ID()
	}
	return clientv3.NoLease
}

// Deadline is until when the present lease is trusted, if no renewal gets through before; the zero time while Down
// or after Close. Compare it with time.Now in this process: on other machines it means nothing.
func (s *Session) Deadline() time.Time {
	if e := s.keeper.Current(); e != nil {
		return time.Now().Add(e.Remaining())
	}
	return time.Time{}
}

// Healthy is nil while Live, and else says why not: for /healthz.
func (s *Session) Healthy() error { return s.keeper.Healthy() }

// Close ends every hold (their Contexts, with ErrClosed), revokes the lease, which frees all of them for others at
// once, and waits for the Session's goroutines. Later calls on the Session or its handles answer ErrClosed. A second
// Close does nothing.
//
// If etcd cannot be reached Close returns when ctx ends, or after 5 s when it has no deadline, and says that others
// wait for up to one TTL. A ctx that has ended already does not keep the lease from being revoked.
func (s *Session) Close(ctx context.Context) error { return s.keeper.Close(ctx) }

// Orphan ends the Session as Close does, but leaves the lease as it is, and in etcd all that hangs on it: until the lease runs out, or for a
// Session that is opened WithLease. Here every hold has ended, with ErrClosed. It is for a process that starts again and wants to go on with
// what it holds. Release what is not wanted before.
func (s *Session) Orphan(ctx context.Context) error { return s.keeper.Orphan(ctx) }

// SetChildren says, before they are started, that there are processes that may act under what the Session holds, and could outlive this one; or, that
// there are none any more. While there are, a witness does not give back what the Session holds when this process is dead, unless it knows that
// they are gone: see WithWitness. Without a witness it does nothing.
func (s *Session) SetChildren(yes bool) error {
	if t, ok := s.keeper.Witness.(*witness.Teller); ok {
		n := 0
		if yes {
			n = 1
		}
		if err := t.Page().Children(n); err != nil {
			return fmt.Errorf("session: %w", err)
		}
	}
	return nil
}

// The module's own packages reach the inner face of a Session so.
func init() {
	keeper.Of = func(s any) *keeper.Keeper { return s.(*Session).keeper }
}
