package mirror

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// book is a copy, which checks that it never goes back.
type book struct {
	t  *testing.T
	mu sync.Mutex

	loads, troubles int
	revision        int64
	values          map[string]string
}

func (b *book) Load(revision int64, kvs []*mvccpb.KeyValue) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if revision < b.revision {
		b.t.Errorf("loaded as of %d, after %d", revision, b.revision)
	}
	b.loads, b.revision = b.loads+1, revision
	b.values = map[string]string{}
	for _, kv := range kvs {
		b.values[string(kv.Key)] = string(kv.Value)
	}
}

func (b *book) Apply(events []*mvccpb.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.loads == 0 {
		b.t.Error("events before the list")
	}
	for _, ev := range events {
		if ev.Kv.ModRevision < b.revision {
			b.t.Errorf("event of %d, after %d", ev.Kv.ModRevision, b.revision)
		}
		b.revision = ev.Kv.ModRevision
		if ev.Type == mvccpb.Event_DELETE {
			delete(b.values, string(ev.Kv.Key))
		} else {
			b.values[string(ev.Kv.Key)] = string(ev.Kv.Value)
		}
	}
}

func (b *book) Trouble(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.troubles++
}

func (b *book) is(want map[string]string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Equal(b.values, want)
}

func (b *book) count() (loads, troubles int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.loads, b.troubles
}

func follow(t *testing.T, client *clientv3.Client, prefix string) (*book, <-chan error) {
	t.Helper()
	r, err := NewRange(client, prefix, "")
	if err != nil {
		t.Fatal(err)
	}
	b, ended := &book{t: t}, make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); ended <- r.Follow(ctx, b) }()
	t.Cleanup(func() { cancel(); <-done })
	return b, ended
}

func put(t *testing.T, client *clientv3.Client, key, value string) {
	t.Helper()
	if _, err := client.Put(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
}

func TestCopyIsLoadedInPagesAndKeptUpWhileItIs(t *testing.T) {
	m := etcdtest.Start(t)
	client := m.Client(t)
	want := map[string]string{}
	for i := range 2*page + 5 {
		key := fmt.Sprintf("a/%05d", i)
		put(t, client, key, "")
		want[key] = ""
	}
	b, _ := follow(t, client, "a/")
	for i := range 200 { // some of these while it is loading
		key := fmt.Sprintf("a/%05d", i*7)
		put(t, client, key, "new")
		want[key] = "new"
	}
	etcdtest.Eventually(t, 10*time.Second, "the copy", func() bool { return b.is(want) })
}

func TestCopyOutlivesCutsKillsAndCompaction(t *testing.T) {
	m := etcdtest.Start(t)
	p := etcdtest.NewProxy(t, m)
	direct := m.Client(t)
	b, _ := follow(t, p.Client(t), "a/")
	for i := range 4 {
		value := fmt.Sprint(i)
		put(t, direct, "a/x", value)
		etcdtest.Eventually(t, 20*time.Second, "the copy "+value, func() bool { return b.is(map[string]string{"a/x": value}) })
		_, before := b.count()
		switch i {
		case 0:
			p.Cut()
			put(t, direct, "a/x", "meanwhile")
			etcdtest.Compact(t, direct)
			etcdtest.Eventually(t, 20*time.Second, "trouble", func() bool { _, n := b.count(); return n > before })
			p.Heal()
		case 1:
			m.Kill()
			m.Restart(t)
		case 2: // nobody says that the connection is dead
			p.Blackhole()
			etcdtest.Eventually(t, 30*time.Second, "trouble", func() bool { _, n := b.count(); return n > before })
			p.Heal()
		}
	}
}

func TestSilentWatchThatIsAliveIsKept(t *testing.T) {
	b, ended := follow(t, etcdtest.Shared(t).Client(t), etcdtest.Name(t)+"/")
	select {
	case err := <-ended:
		t.Fatal(err)
	case <-time.After(checkEvery*3/2 + etcd.AnswerWithin + time.Second): // that nothing happens in this time is the promise
	}
	if loads, troubles := b.count(); loads != 1 || troubles != 0 {
		t.Errorf("loaded %d times, %d troubles", loads, troubles)
	}
}

func TestNothingIsAppliedBeforeTheListNorWhatItKnows(t *testing.T) {
	b := &book{t: t}
	f := &feed{copy: b}
	event := func(key string, revision int64) *mvccpb.Event {
		return &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte(key), Value: []byte("event"), ModRevision: revision}}
	}
	f.Events([]*mvccpb.Event{event("old", 5), event("x", 9)})
	f.Events([]*mvccpb.Event{event("new", 11)})
	f.load(10, []*mvccpb.KeyValue{{Key: []byte("x"), Value: []byte("list")}})
	f.Events([]*mvccpb.Event{event("x", 10), event("y", 12), event("z", 12)})
	f.Events([]*mvccpb.Event{event("x", 12)}) // again
	if !b.is(map[string]string{"x": "list", "new": "event", "y": "event", "z": "event"}) {
		t.Errorf("%v", b.values)
	}
	f.close()
	f.Events([]*mvccpb.Event{event("late", 13)})
	if len(b.values) != 4 {
		t.Errorf("after the end: %v", b.values)
	}
}

func TestFollowEndsWithAnErrorThatWillNotPass(t *testing.T) {
	client := etcdtest.Shared(t).Client(t)
	_, ended := follow(t, client, "a/")
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, grpc.ErrClientConnClosing) {
		t.Error(err)
	}
}
