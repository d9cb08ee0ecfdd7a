package semaphore

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/internal/mirror"
	"github.com/fenceline/fenceline/internal/queue"
)

// crowd is who stands in etcd's line, while that matters here: while somebody of this Session holds and somebody waits.
type crowd struct {
	prefix   string
	keeper   *keeper.Keeper
	follower *mirror.Follower
	rely     func()
	changed  func() // called when something did; must not block

	mu      sync.Mutex
	known   bool
	entries map[string]queue.Entry
	limit   int64          // 0: none is stored
	strange bool           // somebody of another session waits
	waiting map[int64]bool // of which sizes entries of this session's wait
	inside  int64          // units of this session's entries that fit into the limit, holders first
}

func gather(k *keeper.Keeper, prefix string, changed func()) *crowd {
	c := &crowd{prefix: prefix, keeper: k, changed: changed, entries: map[string]queue.Entry{}}
	c.rely = k.Watch().Rely()
	c.follower = mirror.Follow(k, mirror.Prefix(prefix), c)
	return c
}

func (c *crowd) disperse() {
	c.follower.Stop()
	c.rely()
}

// Load, Apply and Trouble are called by the follower.
func (c *crowd) Load(_ int64, kvs []*mvccpb.KeyValue) {
	c.mu.Lock()
	c.known, c.limit = true, 0
	clear(c.entries)
	for _, kv := range kvs {
		c.take(kv)
	}
	c.judge()
	c.mu.Unlock()
	c.changed()
}

func (c *crowd) Apply(events []*mvccpb.Event) {
	c.mu.Lock()
	for _, ev := range events {
		switch {
		case ev.Type == mvccpb.Event_PUT:
			c.take(ev.Kv)
		case isLimit(string(ev.Kv.Key)): // while somebody has deleted it, the last one counts
		default:
			delete(c.entries, string(ev.Kv.Key))
		}
	}
	c.judge()
	c.mu.Unlock()
	c.changed()
}

func (c *crowd) Trouble(error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = false
}

func (c *crowd) take(kv *mvccpb.KeyValue) {
	if key := string(kv.Key); isLimit(key) {
		c.limit = units(kv.Value)
	} else {
		c.entries[key] = queue.Entry{Key: key, Create: kv.CreateRevision, Lease: clientv3.LeaseID(kv.Lease), Value: kv.Value}
	}
}

// judge looks at the line as it stands now.
func (c *crowd) judge() {
	entries := make([]queue.Entry, 0, len(c.entries))
	for _, e := range c.entries {
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b queue.Entry) int { return cmp.Compare(a.Create, b.Create) })
	c.strange, c.inside, c.waiting = false, 0, map[int64]bool{}
	now, fit := c.keeper.Current(), in(entries, c.limit)
	for i, e := range entries {
		lease, _, ours := keyspace.ParseEntry(strings.TrimPrefix(strings.TrimPrefix(e.Key, c.prefix+lineDir), keyspace.Large))
		ours = ours && now != nil && now.Has(lease)
		switch {
		case i < fit && ours:
			c.inside += units(e.Value)
		case i < fit:
		case ours:
			c.waiting[units(e.Value)] = true
		default:
			c.strange = true
		}
	}
}

// sight is what a crowd shows.
type sight struct {
	limit   int64 // 0: not known
	inside  int64 // units of this session's that fit into it
	unknown bool  // whether others wait
	others  bool  // somebody waits who is not of this session, or wants another number of units
}

// look is for those here who hold or want n units.
func (c *crowd) look(n int64) sight {
	believed := c.follower.Believed()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known {
		return sight{unknown: true}
	}
	return sight{c.limit, c.inside, !believed, c.strange || len(c.waiting) > 1 || len(c.waiting) == 1 && !c.waiting[n]}
}
