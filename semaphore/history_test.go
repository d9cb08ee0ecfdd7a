package semaphore_test

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/semaphore"
	"github.com/fenceline/fenceline/session"
)

var soak = flag.Duration("soak", 20*time.Second, "how long the test of the history goes on")

// entry is one request in etcd's history, by its create revision.
type entry struct {
	key           string
	create, units int64
	entered, gone int64     // revisions; 0: not
	seen          time.Time // when the history told us that it had entered
}

// history reads the events of a semaphore as they come, and replays who may enter.
type history struct {
	mu      sync.Mutex
	limit   int64
	line    []*entry // that stand, in order
	entries map[int64]*entry
	most    int64 // units that were in at once
	rev     int64
}

func (h *history) apply(ev *clientv3.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := string(ev.Kv.Key)
	h.rev = ev.Kv.ModRevision
	if !strings.Contains(key, "/line/") {
		return
	}
	if ev.IsCreate() {
		units, _ := strconv.ParseInt(string(ev.Kv.Value), 10, 64)
		e := &entry{key: key, create: ev.Kv.CreateRevision, units: units}
		h.line = append(h.line, e)
		h.entries[e.create] = e
	} else if ev.Type == clientv3.EventTypeDelete {
		h.line = slices.DeleteFunc(h.line, func(e *entry) bool {
			if e.key == key {
				e.gone = ev.Kv.ModRevision
			}
			return e.key == key
		})
	}
	var ahead, in int64
	for _, e := range h.line {
		if ahead += e.units; ahead <= h.limit && e.entered == 0 {
			e.entered, e.seen = ev.Kv.ModRevision, time.Now()
		}
		if e.entered > 0 {
			in += e.units
		}
	}
	h.most = max(h.most, in)
}

// follow reads until revision end, and answers when it has.
func (h *history) follow(ctx context.Context, t *testing.T, client *clientv3.Client, name string) {
	ready := make(chan struct{})
	prefix := "fenceline/semaphore/" + name + "/"
	go func() {
		for resp := range client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify()) {
			if resp.Created {
				close(ready)
			}
			for _, ev := range resp.Events {
				h.apply(ev)
			}
		}
	}()
	<-ready
}

func (h *history) entry(t *testing.T, p *semaphore.Permit) (e entry, ok bool) {
	t.Helper()
	create := p.Guard()[0].GetCompare().GetCreateRevision()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		h.mu.Lock()
		if e := h.entries[create]; e != nil && e.entered > 0 {
			defer h.mu.Unlock()
			return *e, true
		}
		h.mu.Unlock()
		if time.Now().After(deadline) {
			return entry{}, false
		}
	}
}

// Sixteen processes with four goroutines each, and now and then one that dies: etcd's own history shows that nobody
// was told "yours" who was not in, that no more units than the limit were, and that everybody who fitted was told.
func TestHistoryShowsThatNobodyIsOverTheLimitAndNobodyIsForgotten(t *testing.T) {
	const limit = 5
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	d := *soak
	if testing.Short() {
		d = 2 * time.Second
	}
	ctx, stop := context.WithTimeout(t.Context(), d)
	defer stop()
	watching, stopWatch := context.WithCancel(t.Context())
	defer stopWatch()
	h := &history{limit: limit, entries: map[int64]*entry{}}
	h.follow(watching, t, client, name)
	var held, turns atomic.Int64
	var killing atomic.Bool
	time.AfterFunc(d/2, func() { killing.Store(true) })
	var late [4]atomic.Int64 // by 10 ms, 100 ms, 1 s, more
	var wg sync.WaitGroup
	for range 16 {
		s := open(t, client)
		for g := range 4 {
			wg.Go(func() {
				m := semaphore.New(s, name, limit)
				for ctx.Err() == nil {
					n := 1 + rand.Int64N(3)
					patience, cancel := context.WithTimeout(t.Context(), 20*time.Second)
					p, err := m.Acquire(patience, n)
					told := time.Now()
					cancel()
					if err != nil {
						t.Error(err)
						return
					}
					turns.Add(1)
					if now := held.Add(n); now > limit && !killing.Load() { // else one may not know yet that it has lost
						t.Errorf("%d units are held", now)
					}
					time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond) // the work
					held.Add(-n)
					if e, ok := h.entry(t, p); !ok {
						t.Error("told that it was in, which the history does not show")
					} else {
						switch wait := told.Sub(e.seen); {
						case wait < 10*time.Millisecond:
							late[0].Add(1)
						case wait < 100*time.Millisecond:
							late[1].Add(1)
						case wait < time.Second:
							late[2].Add(1)
						default: // the slow look at the line comes no sooner than after 4 s
							late[3].Add(1)
							t.Errorf("told %v after it was in", wait)
						}
					}
					if g == 0 && killing.Load() && rand.IntN(50) == 0 {
						_, _ = client.Revoke(t.Context(), s.Lease())
						<-p.Context().Done()
					}
					if err := p.Release(context.Background()); err != nil && !errors.Is(err, session.ErrLost) {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	queued(t, client, name, 0)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.most > limit || h.most < limit-2 || turns.Load() < 100 {
		t.Errorf("at most %d units were in, in %d turns", h.most, turns.Load())
	}
	t.Logf("%d turns; told within 10 ms: %d, 100 ms: %d, 1 s: %d", turns.Load(), late[0].Load(), late[1].Load(), late[2].Load())
}
