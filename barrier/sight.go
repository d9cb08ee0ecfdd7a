package barrier

import (
	"context"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/mirror"
)

// sight keeps what a follower tells until the wait that follows looks at it.
type sight struct {
	wake chan struct{}

	mu   sync.Mutex
	news news
}

// news is what was told since the last look.
type news struct {
	revision int64 // of a list; 0: there was none
	kvs      []*mvccpb.KeyValue
	events   []*mvccpb.Event // after that
	doubt    int64           // there is to be another look, as of this revision or later; 0: need not be
	refused  error
}

func newSight() *sight { return &sight{wake: make(chan struct{}, 1)} }

func (s *sight) tell(set func(*news)) {
	s.mu.Lock()
	set(&s.news)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *sight) take() news {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.news
	s.news = news{}
	return n
}

// Load, Apply and Trouble are called by the follower.
func (s *sight) Load(revision int64, kvs []*mvccpb.KeyValue) {
	s.tell(func(n *news) { n.revision, n.kvs, n.events, n.refused = revision, kvs, nil, nil })
}

func (s *sight) Apply(events []*mvccpb.Event) {
	s.tell(func(n *news) { n.events = append(n.events, events...) })
}

func (s *sight) Trouble(err error) {
	if etcd.Final(err) {
		s.tell(func(n *news) { n.refused = err })
	}
}

// own is a watch of one more key. Of what happens to it, and may have happened between two watches, a look tells.
type own struct {
	*sight
	watches int
}

func (o *own) Load(revision int64, _ []*mvccpb.KeyValue) {
	if o.watches++; o.watches > 1 { // the list of the sight's follower comes after the first
		o.tell(func(n *news) { n.doubt = max(n.doubt, revision, 1) })
	}
}

func (o *own) Apply(events []*mvccpb.Event) {
	o.tell(func(n *news) { n.doubt = max(n.doubt, events[len(events)-1].Kv.ModRevision) })
}

// until has look take what is told of keys, until it says that it is done, or ctx ends. After each pause without news look is called, too; zero:
// it is not.
func (s *sight) until(ctx context.Context, k *keeper.Keeper, keys string, pause func() time.Duration, look func(news) (done bool, err error)) error {
	for {
		silent := never
		if d := pause(); d > 0 {
			silent = time.After(d)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-silent:
		case <-s.wake:
		}
		n := s.take()
		if n.refused != nil {
			return k.Explain(n.refused, keys)
		}
		if done, err := look(n); done || err != nil {
			return err
		}
	}
}

var never <-chan time.Time

func noPause() time.Duration { return 0 }

// condition is what a wait wants of a key; it gets nil when nothing stands there.
type condition func(*mvccpb.KeyValue) (bool, error)

// waitKey waits until what stands under key satisfies it. Most often it does, and needs no watch.
func waitKey(ctx context.Context, k *keeper.Keeper, key string, satisfies condition) error {
	ctx, cancel := k.WhileOpen(ctx)
	defer cancel()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	done := false
	err := k.Retry(ctx, ctx, key, func(try context.Context) error {
		resp, err := k.KV().Get(try, key)
		if err != nil {
			return err
		}
		if done, err = satisfies.list(resp.Kvs); err != nil {
			return etcd.Settled(err)
		}
		return nil
	})
	if done || err != nil {
		return err
	}
	s := newSight()
	defer mirror.Follow(k, mirror.Keys{Key: key}, s).Stop()
	return s.until(ctx, k, key, noPause, func(n news) (done bool, err error) {
		if n.revision > 0 {
			done, err = satisfies.list(n.kvs)
		}
		for _, ev := range n.events {
			if done || err != nil {
				break
			}
			kv := ev.Kv
			if ev.Type == mvccpb.Event_DELETE {
				kv = nil
			}
			done, err = satisfies(kv)
		}
		return done, err
	})
}

func (c condition) list(kvs []*mvccpb.KeyValue) (bool, error) {
	if len(kvs) == 0 {
		return c(nil)
	}
	return c(kvs[0])
}
