package mirror

import (
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// Copy is what somebody keeps of some keys. Its methods are called one at a time. They must not block, nor call the Follower's.
type Copy interface {
	// Load takes everything there is, as of revision.
	Load(revision int64, kvs []*mvccpb.KeyValue)
	// Apply takes what has changed since, in order, all of one revision together.
	Apply(events []*mvccpb.Event)
	// Trouble says why the copy may be getting old, also when etcd refuses to be read (see etcd.Final). The next Load
	// ends that.
	Trouble(err error)
}

// Witness is a Copy that wants to know how what it misses in a list has gone, while nobody told. A Range asks it.
type Witness interface {
	// Misses says whether something of the copy is not among kvs. It is called before Load; if so, what happened between the
	// last Load or Apply and that list is applied first, as far as etcd still has it.
	Misses(kvs []*mvccpb.KeyValue) bool
}

// Asker is a Copy that learns of its keys from others, too.
type Asker interface {
	// Asking is called before a list is asked for: what the copy knows by then, the list is not older than, unless etcd has gone back.
	Asking()
}

// Idler is a Copy that is not always relied on.
type Idler interface {
	// Idle says that nothing depends at present on what a silent watch may have missed: the keys need not be listed again.
	Idle() bool
}

// feed hands to the copy what one watch tells.
type feed struct {
	copy Copy

	mu     sync.Mutex
	loaded bool
	closed bool
	known  int64           // what happened up to here, the copy has
	early  []*mvccpb.Event // came before the list
}

func (f *feed) Events(events []*mvccpb.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
	case !f.loaded:
		f.early = append(f.early, events...)
	default:
		f.apply(events)
	}
}

// apply passes on what the copy does not have. All events of a revision come in one answer.
func (f *feed) apply(events []*mvccpb.Event) {
	for i, ev := range events {
		if ev.Kv.ModRevision > f.known {
			f.known = events[len(events)-1].Kv.ModRevision
			f.copy.Apply(events[i:])
			return
		}
	}
}

// load takes a list. One that is older than what the watch has told since tells nothing.
func (f *feed) load(revision int64, kvs []*mvccpb.KeyValue) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.loaded && revision < f.known {
		return
	}
	f.loaded, f.known = true, revision
	f.copy.Load(revision, kvs)
	f.apply(f.early)
	f.early = nil
}

// beforeLoad calls f with the copy, which has no list of this watch yet, unless the watch has ended.
func (f *feed) beforeLoad(do func(Copy)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed && !f.loaded {
		do(f.copy)
	}
}

// upTo is what the copy has by now; 0: nothing.
func (f *feed) upTo() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.known
}

// close keeps calls that are under way from reaching the copy after another watch has begun.
func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
}
