package mirror

import (
	"context"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keeper"
)

// Keys are [Key, End), or Key alone if End is empty.
type Keys struct{ Key, End string }

// Prefix are all keys that begin with prefix.
func Prefix(prefix string) Keys { return Keys{prefix, clientv3.GetPrefixRangeEnd(prefix)} }

// Follow has c kept up to date with keys by the session's stream, which many share: it costs a watch, and no goroutine. While the watch is
// silent the keys are listed again each keeper.Silence, unless c is an Idler and idle.
func Follow(k *keeper.Keeper, keys Keys, c Copy) *Follower {
	s := ofSession(k, keys, c)
	s.list = listing(k, keys)
	return start(s, c)
}

// FollowPart is Follow for a Copy of keys of which only some have to be watched. The first list is as old as the watch, and not asked of the
// quorum: that waits for etcd's disk, when others write.
func FollowPart(k *keeper.Keeper, watched, keys Keys, c Copy) *Follower {
	s := ofSession(k, watched, c)
	s.list, s.lax = listing(k, keys), true
	return start(s, c)
}

func listing(k *keeper.Keeper, keys Keys) func(context.Context, int64) (int64, []*mvccpb.KeyValue, error) {
	return func(ctx context.Context, least int64) (int64, []*mvccpb.KeyValue, error) {
		ctx, cancel := context.WithTimeout(ctx, k.RequestTimeout())
		defer cancel()
		var opts []clientv3.OpOption
		if keys.End != "" {
			opts = append(opts, clientv3.WithRange(keys.End))
		}
		resp, err := k.KV().ReadAt(ctx, least, keys.Key, opts...)
		if err != nil {
			return 0, nil, err
		}
		return resp.Header.Revision, resp.Kvs, nil
	}
}

// Listen is Follow for a Copy that reads by itself: it is told by Load from which revision on it will hear of everything, and no keys.
// Revision 0: etcd has not told.
func Listen(k *keeper.Keeper, key string, c Copy) *Follower {
	return start(ofSession(k, Keys{Key: key}, c), c)
}

func ofSession(k *keeper.Keeper, keys Keys, c Copy) source {
	return source{key: keys.Key, end: keys.End, stream: k.Watch(), every: k.Silence, spawn: k.Go, elapsed: k.Elapsed,
		trouble: func(err error) {
			k.Log.Debug("watch ended", "key", keys.Key, "error", err)
			c.Trouble(err)
		}}
}
