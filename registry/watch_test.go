package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

// seen is what a loop over Watch was told.
type seen struct {
	mu   sync.Mutex
	sets [][]Instance
	err  error
}

func watched(t *testing.T, client *clientv3.Client, service string, opts ...WatchOption) *seen {
	t.Helper()
	s := &seen{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		for ins, err := range Watch(ctx, client, service, opts...) {
			s.mu.Lock()
			s.sets, s.err = append(s.sets, ins), err
			s.mu.Unlock()
		}
	}()
	return s
}

// ids of the latest set; "none" before the first.
func (s *seen) ids() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sets) == 0 {
		return "none"
	}
	var ids []string
	for _, in := range s.sets[len(s.sets)-1] {
		ids = append(ids, in.ID)
	}
	return strings.Join(ids, " ")
}

func (s *seen) want(t *testing.T, ids string) {
	t.Helper()
	eventually(t, "to see "+ids, func() bool { return s.ids() == ids })
}

func put(t *testing.T, client *clientv3.Client, key, value string, opts ...clientv3.OpOption) {
	t.Helper()
	if _, err := client.Put(t.Context(), key, value, opts...); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, client *clientv3.Client, key string, opts ...clientv3.OpOption) {
	t.Helper()
	if _, err := client.Delete(t.Context(), key, opts...); err != nil {
		t.Fatal(err)
	}
}

func TestWatchYieldsTheSetAndEachChange(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), service(t)
	w := watched(t, client, name)
	w.want(t, "") // which is a set, too
	s := opened(t, client)
	b := registered(t, s, name, Instance{ID: "b", Addr: "a:1"})
	w.want(t, "b")
	registered(t, s, name, Instance{ID: "a", Addr: "a:1"})
	registered(t, s, name+"-other", Instance{ID: "c", Addr: "a:1"})
	w.want(t, "a b")
	if err := b.Deregister(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.want(t, "a")
}

func TestWhatDoesNotParseIsKeptOutAndEndsNoWatch(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), service(t)
	var log bytes.Buffer
	w := watched(t, client, name, WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	put(t, client, "services/"+name+"/bad", "nonsense")
	put(t, client, "services/"+name+"/bad", "nonsense again")
	put(t, client, "services/"+name+"/good", `{"Addr":"a:1"}`)
	w.want(t, "good")
	put(t, client, "services/"+name+"/good", "bad, too")
	w.want(t, "")
	put(t, client, "services/"+name+"/good", `{"Addr":"a:1"}`)
	w.want(t, "good")
	if n := strings.Count(log.String(), "/bad"); n != 1 {
		t.Errorf("logged %d times: %s", n, &log)
	}
}

func TestWatchGoesOnAfterOutagesAndCompaction(t *testing.T) {
	m := etcdtest.Start(t)
	p := etcdtest.NewProxy(t, m)
	client, direct, name := p.Client(t), m.Client(t), service(t)
	var mu sync.Mutex
	troubles := 0
	w := watched(t, client, name, WithTroubleFunc(func(error) { mu.Lock(); troubles++; mu.Unlock() }))
	put(t, direct, "services/"+name+"/a", `{"Addr":"a:1"}`)
	w.want(t, "a")
	p.Cut()
	eventually(t, "the trouble to be told", func() bool { mu.Lock(); defer mu.Unlock(); return troubles > 0 })
	put(t, direct, "services/"+name+"/b", `{"Addr":"a:1"}`)
	remove(t, direct, "services/"+name+"/a")
	for i := range 20 {
		put(t, direct, "services/"+name+"/c", fmt.Sprintf(`{"Addr":"a:%d"}`, i+1))
	}
	etcdtest.Compact(t, direct)
	if w.ids() != "a" {
		t.Errorf("during the outage: %s", w.ids())
	}
	p.Heal()
	w.want(t, "b c")
	m.Kill()
	m.Restart(t)
	put(t, direct, "services/"+name+"/d", `{"Addr":"a:1"}`)
	w.want(t, "b c d")
	p.Blackhole() // in silence
	remove(t, direct, "services/"+name+"/d")
	p.Heal()
	w.want(t, "b c")
}

func TestSlowReaderGetsTheLatestAndNeverGoesBack(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), service(t)
	key := "services/" + name + "/a"
	put(t, client, key, `{"Addr":"a:1"}`)
	last, yields := "", 0
	for ins, err := range Watch(t.Context(), client, name) {
		if err != nil {
			t.Fatal(err)
		}
		if yields++; yields == 1 {
			for i := range 500 { // all while the reader is busy
				put(t, client, key, fmt.Sprintf(`{"Addr":"a:%d"}`, i+2))
			}
		}
		if len(ins) != 1 || len(ins[0].Addr) < len(last) || len(ins[0].Addr) == len(last) && ins[0].Addr < last {
			t.Fatalf("from %s to %+v", last, ins)
		}
		if last = ins[0].Addr; last == "a:501" {
			break
		}
	}
	if yields > 50 {
		t.Errorf("%d sets were yielded", yields)
	}
}

func TestErrorThatWillNotPassIsYieldedLast(t *testing.T) {
	client := etcdtest.Shared(t).Client(t)
	var errs []error
	for _, err := range Watch(t.Context(), client, "a/b") {
		errs = append(errs, err)
	}
	if len(errs) != 1 || !errors.Is(errs[0], session.ErrInvalidName) {
		t.Errorf("%v", errs)
	}
	w := watched(t, client, service(t))
	w.want(t, "")
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return errors.Is(w.err, grpc.ErrClientConnClosing) })
}

func TestHundredWatchersSeeEachInstance(t *testing.T) {
	m := etcdtest.Start(t)
	client, name := m.Client(t), service(t)
	var all []*seen
	for range 100 {
		all = append(all, watched(t, client, name))
	}
	s := opened(t, client)
	var want []string
	for i := range 20 {
		registered(t, s, name, Instance{ID: fmt.Sprintf("%02d", i), Addr: "a:1"})
		want = append(want, fmt.Sprintf("%02d", i))
	}
	for _, w := range all {
		w.want(t, strings.Join(want, " "))
	}
}
