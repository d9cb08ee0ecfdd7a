package keeper

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

const endpoint = "http://127.0.0.1:1"

var silentClient *clientv3.Client // of nobody: fakes answer in its place

func TestMain(m *testing.M) {
	var err error
	silentClient, err = clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	if err != nil {
		panic(err)
	}
	code := m.Run()
	silentClient.Close()
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// Kinds of requests.
const (
	grants  = "grant"
	renews  = "renew"
	revokes = "revoke"
	records = "record"
)

// request as etcd saw it.
type request struct {
	kind    string
	id      clientv3.LeaseID
	at      time.Duration // since the start of the test
	timeout time.Duration // that its context had
}

// fakeEtcd knows leases and nothing else. fate says what becomes of a kind of request; without one it is answered
// at once.
type fakeEtcd struct {
	start time.Time

	mu       sync.Mutex
	leases   map[clientv3.LeaseID]*fakeLease
	fates    map[string]fate
	requests []request
	running  map[string]int
	most     map[string]int // requests at one time
	raise    time.Duration  // least TTL
}

type fakeLease struct {
	ttl     time.Duration
	expires time.Time
}

// fate carries a request out, or does not, and answers.
type fate func(ctx context.Context, carryOut func() (time.Duration, error)) (time.Duration, error)

func refused(err error) fate {
	return func(context.Context, func() (time.Duration, error)) (time.Duration, error) { return 0, err }
}

// swallowed requests never arrive.
func swallowed(ctx context.Context, _ func() (time.Duration, error)) (time.Duration, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

// unanswerable requests are carried out, and the answer is lost.
func unanswerable(ctx context.Context, carryOut func() (time.Duration, error)) (time.Duration, error) {
	carryOut()
	<-ctx.Done()
	return 0, ctx.Err()
}

// answeredAfter requests are carried out at once; the answer takes its time.
func answeredAfter(d time.Duration) fate {
	return func(ctx context.Context, carryOut func() (time.Duration, error)) (time.Duration, error) {
		ttl, err := carryOut()
		select {
		case <-time.After(d):
			return ttl, err
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// inTurn gives each request its own fate; those that follow are answered.
func inTurn(fates ...fate) fate {
	var n atomic.Int32
	return func(ctx context.Context, carryOut func() (time.Duration, error)) (time.Duration, error) {
		if i := int(n.Add(1)) - 1; i < len(fates) {
			return fates[i](ctx, carryOut)
		}
		return carryOut()
	}
}

func newFakeEtcd() *fakeEtcd {
	return &fakeEtcd{start: time.Now(), leases: map[clientv3.LeaseID]*fakeLease{}, fates: map[string]fate{},
		running: map[string]int{}, most: map[string]int{}}
}

// let decides what becomes of the requests of a kind from here on; nil answers them again.
func (f *fakeEtcd) let(kind string, be fate) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fates[kind] = be
}

func (f *fakeEtcd) handle(ctx context.Context, kind string, id clientv3.LeaseID, carryOut func() (time.Duration, error)) (time.Duration, error) {
	r := request{kind: kind, id: id, at: time.Since(f.start)}
	if d, ok := ctx.Deadline(); ok {
		r.timeout = time.Until(d)
	}
	locked := func() (time.Duration, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		return carryOut()
	}
	f.mu.Lock()
	f.requests = append(f.requests, r)
	be := f.fates[kind]
	f.running[kind]++
	f.most[kind] = max(f.most[kind], f.running[kind])
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.running[kind]--
		f.mu.Unlock()
	}()
	if be == nil {
		return locked()
	}
	return be(ctx, locked)
}

func (f *fakeEtcd) alive(id clientv3.LeaseID) *fakeLease {
	if l := f.leases[id]; l != nil && time.Now().Before(l.expires) {
		return l
	}
	return nil
}

func (f *fakeEtcd) Grant(ctx context.Context, id clientv3.LeaseID, ttl time.Duration) (time.Duration, error) {
	return f.handle(ctx, grants, id, func() (time.Duration, error) {
		if l := f.alive(id); l != nil {
			l.expires = time.Now().Add(l.ttl)
			return l.ttl, nil
		}
		ttl = max(ttl, f.raise)
		f.leases[id] = &fakeLease{ttl, time.Now().Add(ttl)}
		return ttl, nil
	})
}

func (f *fakeEtcd) Renew(ctx context.Context, id clientv3.LeaseID) (time.Duration, error) {
	return f.handle(ctx, renews, id, func() (time.Duration, error) {
		l := f.alive(id)
		if l == nil {
			return 0, ErrRevoked
		}
		l.expires = time.Now().Add(l.ttl)
		return l.ttl, nil
	})
}

func (f *fakeEtcd) Revoke(ctx context.Context, id clientv3.LeaseID) error {
	_, err := f.handle(ctx, revokes, id, func() (time.Duration, error) {
		delete(f.leases, id)
		return 0, nil
	})
	return err
}

func (f *fakeEtcd) Record(ctx context.Context, id clientv3.LeaseID, _, _ string) (int64, error) {
	_, err := f.handle(ctx, records, id, func() (time.Duration, error) {
		if f.alive(id) == nil {
			return 0, ErrRevoked
		}
		return 0, nil
	})
	return 7, err
}

// revokeByHand is what an operator does.
func (f *fakeEtcd) revokeByHand(id clientv3.LeaseID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.leases, id)
}

// standing is how many leases have not expired.
func (f *fakeEtcd) standing() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for id := range f.leases {
		if f.alive(id) != nil {
			n++
		}
	}
	return n
}

// seen lists the requests of a kind so far.
func (f *fakeEtcd) seen(kind string) []request {
	f.mu.Lock()
	defer f.mu.Unlock()
	var rs []request
	for _, r := range f.requests {
		if r.kind == kind {
			rs = append(rs, r)
		}
	}
	return rs
}

// all is how many requests were seen, atOnce how many of a kind at one time.
func (f *fakeEtcd) all() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.requests)
}

func (f *fakeEtcd) atOnce(kind string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.most[kind]
}

// fakeClock is the bubble's time, and what the machine has slept.
type fakeClock struct {
	start  time.Time
	asleep atomic.Int64
}

func (c *fakeClock) Elapsed() time.Duration {
	return time.Since(c.start) + time.Duration(c.asleep.Load())
}

// suspend is a sleep of the machine: the clock goes on, timers do not.
func (c *fakeClock) suspend(d time.Duration) { c.asleep.Add(int64(d)) }

// holding is what one who holds under an epoch was told of its end.
type holding struct {
	mu    sync.Mutex
	cause error
	at    time.Duration
}

// hold holds something under e.
func (r *rig) hold(e *Epoch) *holding {
	l := &holding{}
	e.OnLoss(l, func(cause error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.cause, l.at = cause, r.clock.Elapsed()
	})
	return l
}

func (l *holding) told() (cause error, at time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause, l.at
}

// told is a call of the state hook.
type told struct {
	from, to State
	cause    error
	at       time.Duration
}

// rig is a keeper on a fake etcd, inside a bubble.
type rig struct {
	*Keeper
	etcd  *fakeEtcd
	clock *fakeClock

	mu   sync.Mutex
	told []told
}

// newRig is a rig whose keeper is not open yet.
func newRig() *rig {
	return &rig{etcd: newFakeEtcd(), clock: &fakeClock{start: time.Now()}}
}

func (r *rig) open(ctx context.Context, ttl time.Duration) error {
	cfg := Config{Client: silentClient, TTL: ttl, Namespace: "ns/", Record: "{}", Log: slog.New(slog.DiscardHandler)}
	cfg.Hooks.State = func(from, to State, cause error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.told = append(r.told, told{from, to, cause, r.clock.Elapsed()})
	}
	k, err := open(ctx, cfg, r.etcd, r.clock, nil)
	r.Keeper = k
	return err
}

// start opens a keeper that closes with the test.
func start(t *testing.T, ttl time.Duration) *rig {
	t.Helper()
	r := newRig()
	if err := r.open(t.Context(), ttl); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, kind := range []string{grants, renews, revokes, records} {
			r.etcd.let(kind, nil)
		}
		if err := r.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return r
}

// lose revokes the present lease, and tells.
func (r *rig) lose() {
	e := r.Current()
	r.etcd.revokeByHand(e.ID())
	e.Gone()
}

func (r *rig) goroutines() int {
	r.Keeper.mu.Lock()
	defer r.Keeper.mu.Unlock()
	return r.active
}

// states are the transitions that the hook was told of.
func (r *rig) states() []told {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]told(nil), r.told...)
}

func stateNames(ts []told) string {
	names := map[State]string{Live: "live", Suspect: "suspect", Down: "down", Closed: "closed"}
	s := ""
	for _, t := range ts {
		s += names[t.from] + ">" + names[t.to] + " "
	}
	return s
}

// near says whether a is b, up to a few milliseconds.
func near(a, b time.Duration) bool { return (a - b).Abs() <= 5*time.Millisecond }
