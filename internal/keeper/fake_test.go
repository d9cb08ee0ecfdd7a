package keeper

import (
	"context"
	"fmt"
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
	revision int64          // of the member that answers renewals
	quorum   int64          // of the quorum
	stuck    clientv3.LeaseID
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
	return &fakeEtcd{start: time.Now(), revision: 7, quorum: 7, leases: map[clientv3.LeaseID]*fakeLease{}, fates: map[string]fate{},
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

func (f *fakeEtcd) Renew(ctx context.Context, id clientv3.LeaseID) (renewal, error) {
	ttl, err := f.handle(ctx, renews, id, func() (time.Duration, error) {
		l := f.alive(id)
		if l == nil {
			return 0, ErrRevoked
		}
		if id == f.stuck {
			return 0, errAway
		}
		l.expires = time.Now().Add(l.ttl)
		return l.ttl, nil
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	return renewal{ttl, point{revision: f.revision}}, err
}

// at sets the revisions of the member that answers renewals, and of the quorum.
func (f *fakeEtcd) at(member, quorum int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revision, f.quorum = member, quorum
}

func (f *fakeEtcd) Revision(context.Context, string) (point, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return point{revision: f.quorum}, nil
}

func (f *fakeEtcd) Revoke(ctx context.Context, id clientv3.LeaseID) error {
	_, err := f.handle(ctx, revokes, id, func() (time.Duration, error) {
		delete(f.leases, id)
		return 0, nil
	})
	return err
}

func (f *fakeEtcd) Record(ctx context.Context, id clientv3.LeaseID, _, _ string) (point, error) {
	_, err := f.handle(ctx, records, id, func() (time.Duration, error) {
		if f.alive(id) == nil {
			return 0, ErrRevoked
		}
		return 0, nil
	})
	return point{revision: 7}, err
}

// revokeByHand is what an operator does.
func (f *fakeEtcd) revokeByHand(id clientv3.LeaseID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.leases, id)
}

// stopRenewing has renewals of one lease be without effect and answer.
func (f *fakeEtcd) stopRenewing(id clientv3.LeaseID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stuck = id
}

func (f *fakeEtcd) stands(id clientv3.LeaseID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.alive(id) != nil
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

func (f *fakeEtcd) Recorded(context.Context, string) (string, error)           { return "", nil }
func (f *fakeEtcd) Keys(context.Context, clientv3.LeaseID) ([]Heirloom, error) { return nil, nil }
