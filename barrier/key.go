package barrier

import (
	"context"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
)

// waitKey waits until what stands under key satisfies seen, which gets nil when nothing does. A watch that ends is no
// answer, and neither is an event older than what was read.
func waitKey(ctx context.Context, k *keeper.Keeper, key string, seen func(*mvccpb.KeyValue) (bool, error)) error {
	ctx, cancel := k.WhileOpen(ctx)
	defer cancel()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	w := &keyWait{keeper: k, key: key, seen: seen}
	if done, err := w.list(ctx, 0); done || err != nil { // most often it is as wanted, and needs no watch
		return err
	}
	return follow(ctx, k, func(f *feed) func() { return k.Watch().Watch(key, "", f) }, w)
}

type keyWait struct {
	keeper *keeper.Keeper
	key    string
	rev    int64
	seen   func(*mvccpb.KeyValue) (bool, error)
}

// list asks the quorum the first time, and when nothing was heard for long: an answer from a member that is behind could be
// older than the call.
func (w *keyWait) list(ctx context.Context, revision int64) (done bool, err error) {
	err = w.keeper.Retry(ctx, ctx, w.key, func(try context.Context) error {
		least := int64(0)
		if w.rev > 0 && revision > 0 {
			least = max(revision, w.rev)
		}
		resp, err := w.keeper.KV().ReadAt(try, least, w.key)
		if err != nil {
			return err
		}
		var kv *mvccpb.KeyValue
		if len(resp.Kvs) > 0 {
			kv = resp.Kvs[0]
		}
		w.rev = resp.Header.Revision
		if done, err = w.seen(kv); err != nil {
			return etcd.Settled(err)
		}
		return nil
	})
	return done, err
}

func (w *keyWait) told(_ context.Context, events []*mvccpb.Event) (done bool, err error) {
	for _, ev := range events {
		if ev.Kv.ModRevision <= w.rev {
			continue
		}
		w.rev = ev.Kv.ModRevision
		kv := ev.Kv
		if ev.Type == mvccpb.Event_DELETE {
			kv = nil
		}
		if done, err = w.seen(kv); done || err != nil {
			return done, err
		}
	}
	return false, nil
}

func (w *keyWait) patience() time.Duration { return etcd.Jitter(w.keeper.Silence()) }

// once does a verb that waits for etcd only.
func once(ctx context.Context, k *keeper.Keeper, keys string, f func(context.Context) error) error {
	ctx, cancel := etcd.Bounded(ctx)
	defer cancel()
	ctx, stop := k.WhileOpen(ctx)
	defer stop()
	if k.Context().Err() != nil {
		return k.Closed()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return k.Retry(ctx, ctx, keys, f)
}
