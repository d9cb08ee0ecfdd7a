package inspect

import (
	"context"
	"iter"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Traffic is what went on in a while, and who stands in the lines at its end.
type Traffic struct {
	*Snapshot
	Over  time.Duration // the while; 0: the first look
	Lines []*LineTraffic
}

// LineTraffic is that of one line.
type LineTraffic struct {
	*Line
	Come int // entries that were put: calls that went to etcd. What is handed on within a process is not seen
	Gone int // entries that were deleted, or have ended with their leases
}

// Waiting is how many wait, and since when the first of them does; zero: not known, which it is not for less than a second.
func (l *LineTraffic) Waiting() (n int, since time.Time) {
	for i := range l.Entries {
		if e := &l.Entries[i]; e.State == Waits {
			n++
			if !e.Waits.IsZero() && (since.IsZero() || e.Waits.Before(since)) {
				since = e.Waits
			}
		}
	}
	return n, since
}

// lookFor bounds one look at the lines, however long the loop may go on.
const lookFor = 5 * time.Second

// Follow yields the traffic of the lines that the options name: at once, with who stands there, and then each time that a while of length every
// has passed. Each costs etcd what Read does, and it sends every change of the lines. A look that fails, or takes
// 5 s, is yielded as an error, with nil, and tried again; so is a watch that ends, and what happened meanwhile is not counted. It ends with ctx, and when the loop does.
func Follow(ctx context.Context, c *clientv3.Client, every time.Duration, opts ...ReadOption) iter.Seq2[*Traffic, error] {
	return func(yield func(*Traffic, error) bool) {
		o, err := optionsOf(opts, ReadOption.read)
		if err != nil {
			yield(nil, err)
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		m := &meter{options: &o}
		defer m.stop()
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			look, cancel := context.WithTimeout(ctx, lookFor)
			s, err := o.read(look, c)
			cancel()
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				if !yield(nil, err) {
					return
				}
			case !yield(m.traffic(s), nil):
				return
			default:
				m.watch(ctx, c, s.Revision+1)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}
}

type lineKey struct{ kind, name string }

// meter counts changes between two looks.
type meter struct {
	*options
	watching sync.WaitGroup
	cancel   context.CancelFunc

	mu         sync.Mutex
	live       bool // a watch counts
	began      time.Time
	come, gone map[lineKey]int
}

// watch counts from a revision on, unless that is done already.
func (m *meter) watch(ctx context.Context, c *clientv3.Client, from int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.live {
		return
	}
	m.live, m.began, m.come, m.gone = true, time.Now(), map[lineKey]int{}, map[lineKey]int{}
	if m.cancel != nil {
		m.cancel()
	}
	ctx, m.cancel = context.WithCancel(ctx)
	m.watching.Go(func() { // Watch itself blocks while etcd is away
		for resp := range c.Watch(clientv3.WithRequireLeader(ctx), m.entries(), clientv3.WithPrefix(), clientv3.WithRev(from)) {
			m.count(resp.Events)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.live = false
	})
}

func (m *meter) stop() {
	if m.cancel != nil {
		m.cancel()
	}
	m.watching.Wait()
}

func (m *meter) count(events []*clientv3.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, ev := range events {
		kind, name, rest := m.place(string(ev.Kv.Key))
		beside := kind == Semaphore && rest == semaphoreLimit || kind == Barrier && rest == barrierRound
		if kind != Prefix && !slices.Contains(Kinds(), kind) || beside || !isEntry(kind, rest) {
			continue
		}
		switch key := (lineKey{kind, name}); {
		case ev.IsCreate():
			m.come[key]++
		case ev.Type == clientv3.EventTypeDelete:
			m.gone[key]++
		}
	}
}

// traffic takes what was counted. Lines in which nobody is any more are among them.
func (m *meter) traffic(s *Snapshot) *Traffic {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := &Traffic{Snapshot: s}
	if m.live {
		t.Over = time.Since(m.began)
	}
	for _, l := range s.Lines {
		key := lineKey{l.Kind, l.Name}
		t.Lines = append(t.Lines, &LineTraffic{Line: l, Come: m.come[key], Gone: m.gone[key]})
		delete(m.come, key)
		delete(m.gone, key)
	}
	for key, n := range m.gone {
		t.Lines = append(t.Lines, &LineTraffic{Line: &Line{Kind: key.kind, Name: key.name}, Come: m.come[key], Gone: n})
	}
	m.began, m.come, m.gone = time.Now(), map[lineKey]int{}, map[lineKey]int{}
	return t
}
