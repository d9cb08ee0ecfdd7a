package line

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/queue"
	"github.com/fenceline/fenceline/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ref is a line as a process of its own has it.
func ref(t *testing.T, m *etcdtest.Member, name string) *Ref {
	t.Helper()
	return refOn(t, m.Client(t), name)
}

// refOn is ref of a client that a test has prepared.
func refOn(t *testing.T, client *clientv3.Client, name string) *Ref {
	t.Helper()
	s, err := session.Open(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return &Ref{Keeper: keeper.Of(s), Kind: "test", Name: name, Prefix: name + "/", Policy: queue.Mutex}
}

// look reads a line's state.
func (r *Ref) look(f func(l *Line) bool) bool {
	l := r.line.Load()
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return f(l)
}

// start has n waiters in the local line, which hold for a moment each, in turn. It answers the holds in their order.
func (r *Ref) start(t *testing.T, n int, opts *Options) <-chan *Hold {
	t.Helper()
	holds := make(chan *Hold, n)
	for range n {
		go func() {
			h, err := r.Acquire(t.Context(), opts, false)
			if err != nil {
				t.Error(err)
			}
			holds <- h
		}()
	}
	etcdtest.Eventually(t, 5*time.Second, "waiters in the local line", func() bool {
		return r.look(func(l *Line) bool { return l.m.queue.Len() == n })
	})
	return holds
}

func mustAcquire(t *testing.T, r *Ref, opts *Options) *Hold {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	h, err := r.Acquire(ctx, opts, false)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func mustRelease(t *testing.T, h *Hold) {
	t.Helper()
	if err := h.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (r *Ref) sees(t *testing.T, want opinion) {
	t.Helper()
	etcdtest.Eventually(t, 5*time.Second, "the view to tell whether others wait", func() bool {
		return r.look(func(l *Line) bool { return l.m.attempt != nil && l.m.othersWait() == want })
	})
}

func revision(t *testing.T, c *clientv3.Client) int64 {
	t.Helper()
	resp, err := c.Get(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.Revision
}

func TestHandOffsCostNothingWhileNobodyElseWaits(t *testing.T) {
	m := etcdtest.Start(t)
	r := ref(t, m, "free")
	opts := &Options{Handoffs: 3}
	h := mustAcquire(t, r, opts)
	holds := r.start(t, 50, opts)
	r.sees(t, no)
	before := revision(t, r.Keeper.Client)
	for range 50 {
		mustRelease(t, h)
		h = <-holds
	}
	if after := revision(t, r.Keeper.Client); after != before {
		t.Errorf("%d proposals for 50 hand-offs", after-before)
	}
	mustRelease(t, h)
}

func TestLingeringEntryMakesTheNextAcquireFree(t *testing.T) {
	m := etcdtest.Start(t)
	r := ref(t, m, "linger")
	opts := &Options{Linger: time.Minute}
	mustRelease(t, mustAcquire(t, r, opts))
	r.sees(t, no)
	before := revision(t, r.Keeper.Client)
	for range 100 {
		mustRelease(t, mustAcquire(t, r, opts))
	}
	if h, err := r.Acquire(t.Context(), opts, true); err != nil {
		t.Errorf("a try of what lingers here: %v", err)
	} else {
		mustRelease(t, h)
	}
	if after := revision(t, r.Keeper.Client); after != before {
		t.Errorf("%d proposals for 101 acquisitions", after-before)
	}
}

func TestOthersGetTheirTurnAfterTheHandoffs(t *testing.T) {
	m := etcdtest.Shared(t)
	for _, handoffs := range []int{0, 1, 5} {
		name := etcdtest.Name(t)
		r, other := ref(t, m, name), ref(t, m, name)
		opts := &Options{Handoffs: handoffs}
		h := mustAcquire(t, r, opts)
		holds := r.start(t, 20, opts)
		theirs := other.start(t, 1, opts)
		r.sees(t, yes)
		local := 0
		for next := h; next != nil; {
			mustRelease(t, next)
			select {
			case next = <-holds:
				local++
			case h := <-theirs:
				mustRelease(t, h)
				next = nil
			}
		}
		if local != handoffs {
			t.Errorf("WithHandoffs(%d): %d local grants in a row while another process waited", handoffs, local)
		}
		for range 20 - local {
			mustRelease(t, <-holds)
		}
	}
}

func TestExposedEntryGoesToTheBackOfTheLineWithANewKey(t *testing.T) {
	m := etcdtest.Shared(t)
	name := etcdtest.Name(t)
	r, other := ref(t, m, name), ref(t, m, name)
	opts := &Options{Handoffs: 100}
	h := mustAcquire(t, r, opts)
	token, key := h.Token(0), h.Key(0)
	holds := r.start(t, 1, opts)
	theirs := other.start(t, 1, opts)
	etcdtest.Eventually(t, 5*time.Second, "the other in line", func() bool { return len(etcdtest.Keys(t, r.Keeper.Client, name+"/")) == 2 })
	mustRelease(t, h)
	select {
	case <-holds:
		t.Fatal("an exposed entry was passed on ahead of another process")
	case h = <-theirs:
	}
	theirToken := h.Token(0)
	mustRelease(t, h)
	h = <-holds
	if h.Key(0) == key || h.Token(0) <= theirToken || theirToken <= token {
		t.Errorf("%s %d, then %d, then %s %d", key, token, theirToken, h.Key(0), h.Token(0))
	}
	mustRelease(t, h)
}

func TestContendedEnqueueOnAnOpenWatchCostsNoRead(t *testing.T) {
	m := etcdtest.Shared(t)
	name := etcdtest.Name(t)
	a, b := ref(t, m, name), ref(t, m, name)
	opts := &Options{}
	h := mustAcquire(t, a, opts)
	holds := b.start(t, 1, opts)
	b.sees(t, yes) // the watch stands
	view := b.line.Load().m.tracks[0].view
	for range 5 {
		mustRelease(t, h)
		h = <-holds
		mustRelease(t, h)
		h = mustAcquire(t, a, opts)
		holds = b.start(t, 1, opts)
	}
	if !b.look(func(l *Line) bool { return l.m.tracks[0].view == view }) {
		t.Error("the watch was opened again")
	}
	mustRelease(t, h)
	mustRelease(t, <-holds)
}

func TestIdleLineIsForgotten(t *testing.T) {
	r := ref(t, etcdtest.Shared(t), etcdtest.Name(t))
	for range 3 {
		mustRelease(t, mustAcquire(t, r, &Options{}))
	}
	table := Of(r.Keeper)
	etcdtest.Eventually(t, 5*time.Second, "no line in the table", func() bool {
		table.mu.Lock()
		defer table.mu.Unlock()
		return len(table.lines) == 0
	})
	mustRelease(t, mustAcquire(t, r, &Options{})) // and is found again
}

// A connection that dies in silence tells nobody. The slow look at the line has to.
func TestWaiterGoesOnWhenItsWatchIsDeaf(t *testing.T) {
	for _, ahead := range []int{1, shortLine + 2} { // the line is watched as a whole, or the predecessor is
		t.Run("", func(t *testing.T) {
			t.Parallel()
			m, name := etcdtest.Shared(t), etcdtest.Name(t)
			opts := &Options{}
			var holds []*Hold
			var rest []<-chan *Hold
			for range ahead {
				r := ref(t, m, name)
				if len(holds) == 0 {
					holds = append(holds, mustAcquire(t, r, opts))
				} else {
					rest = append(rest, r.start(t, 1, opts))
				}
			}
			r := ref(t, m, name)
			mine := r.start(t, 1, opts)
			etcdtest.Eventually(t, 5*time.Second, "the watch to stand", func() bool {
				return r.look(func(l *Line) bool {
					return l.m.tracks[0].view != nil && l.m.tracks[0].view.ready && l.m.attempt.stage == queued
				})
			})
			r.look(func(l *Line) bool { l.m.tracks[0].view.stop(); return true })
			mustRelease(t, holds[0])
			for _, next := range rest {
				mustRelease(t, <-next)
			}
			select {
			case h := <-mine:
				mustRelease(t, h)
			case <-time.After(20 * time.Second):
				t.Fatal("still waiting")
			}
		})
	}
}
