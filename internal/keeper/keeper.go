// Package keeper keeps a lease in etcd alive, and takes a new one when it is lost.
//
// A Keeper lives through a sequence of epochs, one lease each. An epoch may be trusted until its deadline, which is
// counted from the moment the last acknowledged renewal was sent, never from when its answer came. Renewals go out at
// a third of the TTL, each with a timeout of its own, and again every tenth of the TTL while they fail. The epoch is
// lost at its deadline, or when etcd says that the lease does not exist; then the next one is fetched, with jittered
// back-off, for as long as the keeper is open.
package keeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/internal/meter"
	"github.com/fenceline/fenceline/internal/watch"
)

// State of a keeper; package session documents the values.
type State int

const (
	Live State = iota
	Suspect
	Down
	Closed
)

// Hooks are called one at a time, in the order of events; any may be nil. Those that take a ctx, HoldEnd apart, are called on the goroutine of
// what they tell of.
type Hooks struct {
	State    func(from, to State, cause error)
	Queued   func(kind, name string, ahead int)
	Granted  func(kind, name string, waited time.Duration)
	Released func(kind, name string, held time.Duration)
	Lost     func(kind, name string, cause error)
	Overrun  func(kind, name string, by time.Duration)
	Missed   func(kind, name string, ticks int)
	Stalled  func(kind, name string, why error)
	Asked    func(kind, name string, r Request)

	WaitStart  func(ctx context.Context, w Wait) context.Context
	WaitEnd    func(ctx context.Context, w Wait, e WaitEnd)
	HoldEnd    func(ctx context.Context, w Wait, e HoldEnd)
	Abandoned  func(kind, name string, waited time.Duration, err error)
	RunStart   func(ctx context.Context, r CronRun) context.Context
	RunEnd     func(ctx context.Context, r CronRun, e CronRunEnd)
	Renewed    func(r Renewal)
	Registered func(service, id string, stands bool, cause error)
}

// Config is what a Keeper is made of.
type Config struct {
	Client    *clientv3.Client
	TTL       time.Duration
	Namespace string
	Record    string // value of the session's record
	Log       *slog.Logger
	Hooks     Hooks
	Meter     *meter.Meter     // nil: nothing is counted
	Labels    bool             // functions run with labels for profiles
	Witness   Witness          // nil: there is none
	Secret    string           // which it is shown; the records have its hash
	Lease     clientv3.LeaseID // to begin with; NoLease: a new one
	Clock     Clock            // nil: the client's, see WithClock, or the system's
}

// Witness is told the leases of a session: see package witness, whose Teller it is.
type Witness interface {
	Add(lease string, ttl time.Duration)
	Remove(lease string)
	Run(ctx context.Context)
}

// Of is the Keeper of a *session.Session. Package session sets it: so its users have no way to it.
var Of func(session any) *Keeper

type Keeper struct {
	Config
	leases leases
	clock  Clock
	watch  *watch.Stream
	teller *teller

	ctx    context.Context // ends at Close, with ErrClosed
	cancel context.CancelCauseFunc
	poke   chan struct{}   // a renewal is wanted now
	client context.Context // ends when the client is closed
	unhook func() bool     // has that not end the keeper any more

	tidy    context.Context // of revokes that nobody waits for; ends when an Open that failed returns
	abandon context.CancelFunc

	mu      sync.Mutex
	epoch   *Epoch        // nil while there is none
	change  chan struct{} // closed and replaced when epoch changes
	last    error         // why there is no epoch, or why renewals fail
	state   State         // as the hook was told, or is about to be
	tables  map[any]any
	parting []func(context.Context, *Epoch) // see OnClose
	closed  chan struct{}                   // closed when Close has finished
	active  int                             // goroutines
	spare   []chan func(context.Context)    // of these, those that wait for work
	idle    chan struct{}                   // closed when active is zero after Close began

	orphaned atomic.Bool // the records are not to name a witness any more
	calls    calls
	censusMu sync.Mutex
	census   []func(*meter.Census)

	soonMu sync.Mutex
	soon   []func(ctx context.Context) // see Soon
}

// Open takes the first lease. ctx bounds that; without a deadline it is bounded by five seconds.
func Open(ctx context.Context, cfg Config) (*Keeper, error) {
	conn := cfg.Client.ActiveConnection()
	if cfg.Clock == nil {
		cfg.Clock = clockOf(cfg.Client.Ctx())
	}
	var opts []watch.Option
	if cfg.Client.Username != "" {
		opts = append(opts, watch.WithLogin())
	}
	stream := watch.New(pb.NewWatchClient(conn), keyspace.Sessions(cfg.Namespace), opts...)
	k, err := open(ctx, cfg, countedLeases(cfg.Meter, newEtcdLeases(cfg.Client)), cfg.Clock, stream)
	if err == nil {
		k.client = cfg.Client.Ctx()
		k.unhook = context.AfterFunc(k.client, k.clientClosed)
		k.Go(func(context.Context) { k.askWhenBack(conn) })
	}
	return k, err
}

func open(ctx context.Context, cfg Config, l leases, clock Clock, w *watch.Stream) (*Keeper, error) {
	k := &Keeper{Config: cfg, leases: l, clock: clock, watch: w, poke: make(chan struct{}, 1),
		change: make(chan struct{}), tables: map[any]any{}, state: Down}
	k.teller, k.Log = newTeller(cfg.Log)
	k.client, k.unhook = context.Background(), func() bool { return true }
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	ctx, cancel := etcd.Bounded(ctx)
	defer cancel()
	k.ctx, k.cancel = context.WithCancelCause(context.Background())
	k.tidy, k.abandon = context.WithCancel(context.Background())
	hopeless := func(err error) bool { return etcd.Final(err) || errors.Is(err, ErrNoLease) }
	var first *Epoch
	if cfg.Lease != clientv3.NoLease {
		first = k.continued()
	}
	e, err := k.fetch(ctx, hopeless, first)
	if err != nil {
		k.cancel(ErrClosed)
		defer k.abandon()
		ctx, cancel := late(ctx)
		defer cancel()
		_ = k.wait(ctx) // for a lease that is given back; one that is not ends by itself, and err says more
		return nil, err
	}
	k.enter(e)
	k.Go(func(context.Context) { k.run(e) })
	if cfg.Witness != nil {
		k.Go(cfg.Witness.Run)
	}
	if w != nil {
		k.Go(w.Run)
	}
	return k, nil
}

// run goes from epoch to epoch.
func (k *Keeper) run(e *Epoch) {
	never := func(error) bool { return false } // what etcd refuses today it may grant tomorrow
	for {
		k.keep(e)
		k.leave(e)
		if !etcd.Steady.Sleep(k.ctx, 1) {
			return
		}
		var err error
		if e, err = k.fetch(k.ctx, never, nil); err != nil || !k.enter(e) {
			return // closed
		}
	}
}

// enter makes e the present epoch, unless Close came first: then nobody else knows of the lease.
func (k *Keeper) enter(e *Epoch) bool {
	k.mu.Lock()
	if k.ctx.Err() != nil {
		k.mu.Unlock()
		k.detachRevoke(e.leases())
		return false
	}
	k.epoch, k.last = e, nil
	k.announce()
	k.mu.Unlock()
	if m := k.Meter; m != nil {
		m.Entered()
	}
	k.witnessed(e.leases(), e.TTL())
	k.setState(Live, nil)
	return true
}

// leave takes note of a loss, after all who hold under e were told.
func (k *Keeper) leave(e *Epoch) {
	cause := e.Err()
	if cause == nil || errors.Is(cause, ErrClosed) {
		return
	}
	<-e.told
	k.mu.Lock()
	if k.last != nil { // why it was not renewed
		cause = fmt.Errorf("%w: %w", cause, k.last)
	}
	k.epoch, k.last = nil, cause
	k.announce()
	k.mu.Unlock()
	k.setState(Down, cause)
	k.unwitnessed(e.leases())
	k.Log.Warn("lease lost", "lease", keyspace.Lease(e.id), "cause", cause)
	if leases := e.leases(); len(leases) > 1 || !errors.Is(cause, ErrRevoked) {
		k.detachRevoke(leases)
	}
}

func (k *Keeper) announce() {
	close(k.change)
	k.change = make(chan struct{})
}

func (k *Keeper) trouble(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last = err
}

func (k *Keeper) lastTrouble() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.last
}

// setState has the hook told of a change.
func (k *Keeper) setState(to State, cause error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	from := k.state
	if from == to || from == Closed {
		return
	}
	k.state = to
	if f := k.Hooks.State; f != nil {
		k.teller.tell(func() { f(from, to, cause) })
	}
}
