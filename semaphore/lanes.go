package semaphore

import (
	"math"
	"strconv"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/line"
	"github.com/fenceline/fenceline/internal/queue"
)

// lanes are the lines of one Session's permits. Each permit that is held or waited for has a line of its own, with one
// entry; the line is used again for the next one of as many units, so that it finds the watch of the last one open.
type lanes struct {
	mu     sync.Mutex
	free   map[laneKey][]*lane
	locals map[string]*local // by prefix
	made   int
}

type laneKey struct {
	prefix string
	units  int64
}

// lane is used by one call at a time.
type lane struct {
	key laneKey
	ref line.Ref

	name  string
	want  int64  // the limit that the present call means; 0: any
	asOf  *int64 // see Semaphore.acquire
	limit int64  // as the line shows it; 0: not known yet
	known bool   // a limit is stored
}

type lanesKey struct{}

func lanesOf(k *keeper.Keeper) *lanes {
	return k.Table(lanesKey{}, func() any {
		return &lanes{free: map[laneKey][]*lane{}, locals: map[string]*local{}}
	}).(*lanes)
}

// local is that of m's name.
func (t *lanes) local(m *Semaphore) *local {
	t.mu.Lock()
	defer t.mu.Unlock()
	lo, ok := t.locals[m.prefix]
	if !ok {
		if len(t.locals) >= maxKinds { // who uses one goes on with it; a new one only knows less
			clear(t.locals)
		}
		lo = &local{keeper: m.keeper, name: m.name, prefix: m.prefix, lanes: t, groups: map[groupKey]*group{}}
		t.locals[m.prefix] = lo
	}
	return lo
}

// take is a lane that nobody uses.
func (t *lanes) take(of *local, key groupKey, asOf *int64) *lane {
	l := t.reuse(laneKey{of.prefix, key.units})
	if l == nil {
		l = &lane{key: laneKey{of.prefix, key.units}, name: of.name, known: true}
		t.mu.Lock()
		t.made++
		l.ref = line.Ref{Keeper: of.keeper, Kind: "semaphore", Name: of.name, Prefix: of.prefix, Policy: l.policy(key.units), Units: key.units, Lane: t.made}
		t.mu.Unlock()
	}
	l.want, l.asOf = key.want, asOf
	return l
}

func (t *lanes) reuse(key laneKey) *lane {
	t.mu.Lock()
	defer t.mu.Unlock()
	free := t.free[key]
	if len(free) == 0 {
		return nil
	}
	t.free[key] = free[:len(free)-1]
	return free[len(free)-1]
}

// Of each kind so many lanes are kept for later, and so many kinds.
const maxFree, maxKinds = 64, 1024

// put keeps a lane for later, whose entry is gone.
func (t *lanes) put(l *lane) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.free) > maxKinds {
		clear(t.free)
	}
	if len(t.free[l.key]) < maxFree {
		t.free[l.key] = append(t.free[l.key], l)
	}
}

func (l *lane) policy(n int64) queue.Policy {
	return queue.Policy{
		Value:      strconv.FormatInt(n, 10),
		Values:     true,
		Alone:      func(ahead []queue.Entry) bool { return alone(ahead, n, l.limit) },
		Beside:     l.key.prefix + limitKey,
		Departures: true,
		Learn:      l.learn,
		Blocker:    func(ahead []queue.Entry) int { return blocker(ahead, n, l.limit) },
		Entered:    func(entries []queue.Entry) int { return in(entries, l.limit) },
		Terms:      func() queue.Terms { return l.terms(n) },
		Hopeless:   func() error { return l.refuse(n) },
		Fits:       l.fits,
		Horizon:    l.horizon,
		Dir:        lineDir,
		Mark:       mark(n),
	}
}

// refuse is the reason of a request that the limit does not allow any more: it would hold up all who come later.
func (l *lane) refuse(n int64) error {
	if l.limit > 0 && n > l.limit {
		return tooMany(l.name, n, l.limit)
	}
	return nil
}

// learn reads the limit. While somebody has deleted it, the last one counts.
func (l *lane) learn(entries []queue.Entry) {
	for _, e := range entries {
		if isLimit(e.Key) {
			l.limit = units(e.Value)
		}
	}
}

// fits is queue.Policy's: whether count entries, of which the marked ones say how many units they are, leave nobody waiting.
func (l *lane) fits(count int64, marked []queue.Entry) bool {
	if l.want > 0 { // else l.limit is what the enqueue has compared
		l.limit = l.want
	}
	return count-int64(len(marked))+sum(marked) <= l.limit
}

// horizon is queue.Policy's: as many entries as there are units fill them, whatever they are of.
func (l *lane) horizon() int {
	return int(min(max(l.want, l.limit), math.MaxInt32))
}

// terms of an enqueue: the limit that is stored is the one that is meant, or is stored now.
func (l *lane) terms(n int64) queue.Terms {
	key := l.key.prefix + limitKey
	t := queue.Terms{Else: []clientv3.Op{clientv3.OpGet(key)}}
	switch {
	case l.known && l.want > 0:
		t.If = append(t.If, clientv3.Compare(clientv3.Value(key), "=", strconv.FormatInt(l.want, 10)))
	case l.known:
		t.If = append(t.If, clientv3.Compare(clientv3.CreateRevision(key), ">", 0))
	default:
		t.If = append(t.If, clientv3.Compare(clientv3.CreateRevision(key), "=", 0))
		t.Then = append(t.Then, clientv3.OpPut(key, strconv.FormatInt(l.want, 10)))
	}
	if l.want == 0 && l.limit > 0 { // n was compared with this one
		t.If = append(t.If, clientv3.Compare(clientv3.Value(key), "=", strconv.FormatInt(l.limit, 10)))
	}
	if l.asOf != nil {
		t.If = append(t.If, clientv3.Compare(clientv3.ModRevision(l.key.prefix).WithPrefix(), "<", *l.asOf+1))
	}
	t.Refused = func(ops []*pb.ResponseOp) (bool, error) { return l.refused(n, ops[0].GetResponseRange().Kvs) }
	return t
}

// refused reads the stored limit out of an answer that says that the terms do not hold.
func (l *lane) refused(n int64, kvs []*mvccpb.KeyValue) (again bool, err error) {
	stored := int64(0)
	if len(kvs) == 1 {
		stored = units(kvs[0].Value)
	}
	switch {
	case stored == 0 && l.want == 0:
		return false, &LimitError{Name: l.name}
	case stored == 0 && l.known, stored > 0 && !l.known:
		l.known = stored > 0
		return true, nil
	case l.want > 0 && stored != l.want:
		return false, &LimitError{l.name, stored, l.want}
	case n > stored:
		return false, tooMany(l.name, n, stored)
	case l.want == 0 && l.limit != stored:
		l.limit = stored
		return true, nil
	case l.asOf != nil:
		return false, errMoved
	}
	return false, nil
}
