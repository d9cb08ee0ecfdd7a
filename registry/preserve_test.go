package registry

import (
	"fmt"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// counts says how many of the members are shown as there, and how many as stale.
func counts(ms members) (there, stale int) {
	for _, e := range ms.entries() {
		if e.Stale {
			stale++
		} else {
			there++
		}
	}
	return there, stale
}

func TestMassDisappearanceIsDistrusted(t *testing.T) {
	p := preservation{share: 0.2, window: 15 * time.Second, keep: time.Minute}
	start := time.Unix(1000, 0)
	type step struct {
		at           time.Duration
		vanish, back int // so many, the first who are there, or have gone
		there, stale int
	}
	for what, c := range map[string]struct {
		of    int
		steps []step
	}{
		"one of ten dies":                        {10, []step{{0, 1, 0, 9, 0}}},
		"two of ten, a fifth":                    {10, []step{{0, 2, 0, 8, 0}}},
		"three of ten":                           {10, []step{{0, 3, 0, 7, 3}}},
		"all":                                    {10, []step{{0, 10, 0, 0, 10}}},
		"all of four":                            {4, []step{{0, 4, 0, 0, 4}}},
		"three of four":                          {4, []step{{0, 3, 0, 1, 0}}},
		"all of two":                             {2, []step{{0, 2, 0, 0, 2}}},
		"the only one":                           {1, []step{{0, 1, 0, 0, 0}}},
		"all of five":                            {5, []step{{0, 5, 0, 0, 5}}},
		"one after the other, within the window": {10, []step{{0, 1, 0, 9, 0}, {5 * time.Second, 1, 0, 8, 0}, {10 * time.Second, 1, 0, 7, 3}}},
		"one after the other, over a longer time":   {10, []step{{0, 1, 0, 9, 0}, {16 * time.Second, 1, 0, 8, 0}, {32 * time.Second, 1, 0, 7, 0}}},
		"they stay for a minute":                    {10, []step{{0, 5, 0, 5, 5}, {59 * time.Second, 0, 0, 5, 5}, {time.Minute, 0, 0, 5, 0}}},
		"each by its own time":                      {10, []step{{0, 5, 0, 5, 5}, {10 * time.Second, 3, 0, 2, 8}, {61 * time.Second, 0, 0, 2, 3}, {71 * time.Second, 0, 0, 2, 0}}},
		"they come back":                            {10, []step{{0, 5, 0, 5, 5}, {5 * time.Second, 0, 5, 10, 0}, {2 * time.Minute, 0, 0, 10, 0}}},
		"long after the others one is only one":     {10, []step{{0, 5, 0, 5, 5}, {30 * time.Second, 1, 0, 4, 5}}},
		"one who went before the trouble, too long": {10, []step{{0, 1, 0, 9, 0}, {20 * time.Second, 3, 0, 6, 3}}},
	} {
		ms := members{}
		for i := range c.of {
			ms.put(Instance{ID: fmt.Sprint(i), Status: Up})
		}
		for i, s := range c.steps {
			now := start.Add(s.at)
			for i := range c.of {
				id := fmt.Sprint(i)
				m := ms.get(id)
				switch {
				case m != nil && m.gone.IsZero() && s.vanish > 0:
					ms.vanish(id, now)
					s.vanish--
				case (m == nil || !m.gone.IsZero()) && s.back > 0:
					ms.put(Instance{ID: id, Status: Up})
					s.back--
				}
			}
			ms.settle(p, now)
			if there, stale := counts(ms); there != s.there || stale != s.stale {
				t.Errorf("%s, step %d: %d there, %d stale; want %d, %d", what, i, there, stale, s.there, s.stale)
			}
		}
	}
}

func TestWhoLeftOnPurposeIsNotKept(t *testing.T) {
	ms := members{}
	for i := range 10 {
		ms.put(Instance{ID: fmt.Sprint(i), Status: Draining})
	}
	for i := range 10 {
		ms.vanish(fmt.Sprint(i), time.Now())
	}
	if ms.settle(preservation{0.2, time.Second, time.Second}, time.Now()); len(ms.entries()) != 0 {
		t.Errorf("%v", ms.entries())
	}
}

func TestSettledAgainWhenSomethingIsOver(t *testing.T) {
	p := preservation{share: 0.2, window: 15 * time.Second, keep: time.Minute}
	start := time.Unix(1000, 0)
	ms := members{}
	for i := range 10 {
		ms.put(Instance{ID: fmt.Sprint(i), Status: Up})
	}
	if again := ms.settle(p, start); !again.IsZero() {
		t.Errorf("%v, with all there", again)
	}
	ms.vanish("0", start)
	if again := ms.settle(p, start); again != start.Add(p.window) {
		t.Errorf("%v, with one gone", again)
	}
	for i := range 10 {
		ms.vanish(fmt.Sprint(i), start.Add(time.Second))
	}
	if again := ms.settle(p, start.Add(time.Second)); again != start.Add(p.keep) {
		t.Errorf("%v, with all gone", again)
	}
	for now := start.Add(time.Second); len(ms) > 0; {
		again := ms.settle(p, now)
		if len(ms) > 0 && !again.After(now) {
			t.Fatalf("at %v: again at %v", now, again)
		}
		now = again
	}
}

// BenchmarkChange is what one change of a service costs a Directory.
//
//	go test -run - -bench Change ./registry
func BenchmarkChange(b *testing.B) {
	for _, n := range []int{100, 1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d := &Directory{services: map[string]*members{}, again: map[string]time.Time{}, news: make(chan struct{})}
			d.opts.prefix, d.opts.keeping = "services/", preservation{share: 0.2, window: 15 * time.Second, keep: time.Minute}
			d.shown.Store(&map[string]*listing{})
			put := func(i, version int) *clientv3.Event {
				return &clientv3.Event{Kv: &mvccpb.KeyValue{Key: fmt.Appendf(nil, "services/web/%05d", i), Value: fmt.Appendf(nil, `{"Addr":"10.0.0.1:80","Version":"%d"}`, version)}}
			}
			var all []*mvccpb.KeyValue
			for i := range n {
				all = append(all, put(i, 0).Kv)
			}
			directoryCopy{d}.Load(1, all)
			i := 0
			for b.Loop() {
				i++
				directoryCopy{d}.Apply([]*mvccpb.Event{(*mvccpb.Event)(put(i%n, i%7))})
			}
		})
	}
}
