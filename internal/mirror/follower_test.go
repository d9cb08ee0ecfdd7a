package mirror

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/internal/watch"
)

// diary is a copy that notes what it is told.
type diary struct {
	idle    atomic.Bool
	loads   chan int64
	applied chan int64
	trouble chan error
}

func (d *diary) Idle() bool                                { return d.idle.Load() }
func (d *diary) Load(revision int64, _ []*mvccpb.KeyValue) { d.loads <- revision }
func (d *diary) Trouble(err error)                         { d.trouble <- err }
func (d *diary) Apply(events []*mvccpb.Event) {
	for _, ev := range events {
		d.applied <- ev.Kv.ModRevision
	}
}

// keep follows key of a real etcd; list stands in for what is read.
func keep(t *testing.T, key string, list func(context.Context, int64) (int64, []*mvccpb.KeyValue, error)) (*diary, *watch.Stream) {
	t.Helper()
	client := etcdtest.Shared(t).Client(t)
	ctx, cancel := context.WithCancel(t.Context())
	stream := watch.New(pb.NewWatchClient(client.ActiveConnection()), key)
	var running sync.WaitGroup
	running.Go(func() { stream.Run(ctx) })
	d := &diary{loads: make(chan int64, 1000), applied: make(chan int64, 1000), trouble: make(chan error, 1000)}
	s := source{key: key, stream: stream, list: list, every: func() time.Duration { return 2 * time.Millisecond },
		elapsed: func() time.Duration { return 0 }, trouble: d.Trouble,
		spawn: func(f func(context.Context)) bool { running.Go(func() { f(ctx) }); return true }}
	f := start(s, d)
	t.Cleanup(func() { f.Stop(); cancel(); running.Wait() })
	return d, stream
}

func next[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(20 * time.Second):
		t.Fatalf("no %s", what)
	}
	return v
}

func TestKeysOfASilentWatchAreListedAgainUnlessNobodyReliesOnThem(t *testing.T) {
	var lists atomic.Int64
	d, _ := keep(t, etcdtest.Name(t), func(context.Context, int64) (int64, []*mvccpb.KeyValue, error) { return lists.Add(1), nil, nil })
	for range 5 {
		next(t, "list", d.loads)
	}
	d.idle.Store(true)
	before := lists.Load()
	time.Sleep(100 * time.Millisecond)     // that nothing is listed in this time is the promise
	if n := lists.Load() - before; n > 1 { // one may have been about to be
		t.Errorf("%d lists while idle", n)
	}
	before = lists.Load()
	d.idle.Store(false)
	for range 1000 {
		if next(t, "list after that", d.loads) > before {
			return
		}
	}
}

func TestListThatKnowsLessThanTheOneBeforeEndsTheWatchAndIsBelievedThen(t *testing.T) {
	var revision atomic.Int64
	revision.Store(1 << 40)
	d, _ := keep(t, etcdtest.Name(t), func(context.Context, int64) (int64, []*mvccpb.KeyValue, error) { return revision.Load(), nil, nil })
	next(t, "list", d.loads)
	revision.Store(7)
	if err := next(t, "trouble", d.trouble); !errors.Is(err, errRewound) {
		t.Error(err)
	}
	for next(t, "list of the restored cluster", d.loads) != 7 {
	}
}

func TestWatchThatListsNothingTellsFromWhereOnItSeesEverythingEachTime(t *testing.T) {
	key := etcdtest.Name(t)
	client := etcdtest.Shared(t).Client(t)
	d, stream := keep(t, key, nil)
	for range 3 {
		from := next(t, "word of the watch", d.loads)
		resp, err := client.Put(t.Context(), key, "")
		if err != nil {
			t.Fatal(err)
		}
		if from >= resp.Header.Revision {
			t.Errorf("from %d, before a put at %d", from, resp.Header.Revision)
		}
		if got := next(t, "event", d.applied); got != resp.Header.Revision {
			t.Errorf("event of %d, put at %d", got, resp.Header.Revision)
		}
		stream.Restart()
		next(t, "trouble", d.trouble)
	}
}

// A list may be so long that it keeps the stream from being heard, so that its watch ends meanwhile, each time.
func TestListThatOutlastsItsWatchIsLoadedBeforeThereIsAnotherWatch(t *testing.T) {
	var lists atomic.Int64
	second, late := make(chan struct{}), make(chan struct{})
	list := func(context.Context, int64) (int64, []*mvccpb.KeyValue, error) {
		n := lists.Add(1)
		if n == 2 {
			close(second)
			<-late
		}
		return n, nil, nil
	}
	d, stream := keep(t, etcdtest.Name(t), list)
	if got := next(t, "list", d.loads); got != 1 {
		t.Errorf("loaded %d", got)
	}
	next(t, "second list", second)
	stream.Restart()
	time.Sleep(200 * time.Millisecond) // that nothing else is listed, or told, in this time is the promise
	if n := lists.Load(); n != 2 || len(d.loads) > 0 || len(d.trouble) > 0 {
		t.Errorf("%d lists while one is under way, %d loaded, %d troubles", n, len(d.loads), len(d.trouble))
	}
	close(late)
	if got := next(t, "the late list", d.loads); got != 2 {
		t.Errorf("loaded %d", got)
	}
	next(t, "trouble", d.trouble)
	if got := next(t, "list of the next watch", d.loads); got != 3 {
		t.Errorf("loaded %d", got)
	}
}
