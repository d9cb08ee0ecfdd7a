package barrier

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/mirror"
)

// party is one entry in etcd, from Enter to its end. One goroutine at a time uses it.
type party struct {
	at      *place
	epoch   *keeper.Epoch
	lease   clientv3.LeaseID // one of the epoch's
	parties int
	breaks  bool

	leaves atomic.Bool // somebody sees to that
	key    string
	create int64 // 0: not known to stand
	sent   bool  // an enter was sent
	entry  keeper.Undoable
	left   bool     // a delete went unanswered, so that it may have happened
	seen   snapshot // the latest
}

// enter puts the entry. If the round would then be full, as far as a look before tells, the same transaction publishes
// it.
func (p *party) enter(ctx, alive context.Context) error {
	p.lease = p.epoch.Take(ctx)
	p.key = slotsOf(p.at.keeper).take(p.at.in, p.lease)
	err := p.at.keeper.Retry(ctx, alive, p.at.prefix, func(try context.Context) (err error) {
		p.seen, err = p.at.readAt(try, 0)
		return err
	})
	if err != nil {
		return err
	}
	return p.at.keeper.Retry(ctx, alive, p.at.prefix, p.sendEnter)
}

func (p *party) sendEnter(ctx context.Context) error {
	value := strconv.Itoa(p.parties)
	puts := []clientv3.Op{clientv3.OpPut(p.key, value, clientv3.WithLease(p.lease))}
	if len(p.seen.waiting()) == p.parties-1 {
		next, by := p.seen.fill(p.parties, true)
		cmps, publish := p.at.publication(p.seen, next, by)
		puts = append(puts, clientv3.OpTxn(cmps, []clientv3.Op{publish}, nil))
	}
	look := p.at.look()
	puts = append(puts, look)
	same := clientv3.Compare(clientv3.Value(p.at.in).WithPrefix(), "=", value) // false if there is nobody
	nobody := clientv3.Compare(clientv3.CreateRevision(p.at.in).WithPrefix(), "=", 0)
	p.sent = true
	resp, err := p.entry.Commit(ctx, keeper.Attempt{
		If:   []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(p.key), "=", 0)},
		Then: []clientv3.Op{clientv3.OpTxn([]clientv3.Cmp{same}, puts, []clientv3.Op{clientv3.OpTxn([]clientv3.Cmp{nobody}, puts, []clientv3.Op{look})})},
		Else: []clientv3.Op{look},
	})
	if err != nil {
		return err
	}
	if !resp.Succeeded {
		return p.refused(ctx, resp)
	}
	inner, joined := resp.Responses[0].GetResponseTxn(), true
	if !inner.Succeeded {
		inner = inner.Responses[0].GetResponseTxn()
		joined = inner.Succeeded
	}
	if p.seen, err = p.at.seen(inner.Responses[len(inner.Responses)-1], resp.Header.Revision); err != nil {
		p.entry.Doubt() // it stands, all the same
		return err
	}
	if !joined {
		return etcd.Settled(p.strange())
	}
	p.create = resp.Header.Revision
	return nil
}

// refused finds out why.
func (p *party) refused(ctx context.Context, resp *keeper.Attempted) (err error) {
	if p.seen, err = p.at.seen(resp.Responses[0], resp.Header.Revision); err != nil {
		return err
	}
	for _, e := range p.seen.in {
		if e.key != p.key {
			continue
		}
		if p.entry.Unknown() { // an earlier attempt
			p.create = e.create
			return nil
		}
		p.key = slotsOf(p.at.keeper).take(p.at.in, p.lease) // a stranger's, and stays taken
		return etcd.Again
	}
	if err := resp.Stale(ctx); err != nil {
		return err
	}
	return etcd.Again
}

// strange says who is in with another number of parties.
func (p *party) strange() error {
	for _, e := range p.seen.in {
		if e.value != strconv.Itoa(p.parties) {
			return fmt.Errorf("%w: %.20s, not %d", ErrParties, e.value, p.parties)
		}
	}
	return fmt.Errorf("%w than %d", ErrParties, p.parties)
}

// await waits until the round is full. An error leaves the entry where it is.
func (p *party) await(ctx, alive context.Context) (round, error) {
	w := &waiting{party: p, alive: alive}
	if done, err := w.judge(ctx); done || err != nil {
		return w.round, err
	}
	all, watched := mirror.Prefix(p.at.prefix), mirror.Keys{Key: p.at.record}
	s := newSight()
	if p.breaks { // who dies is to be noticed
		watched = all
	} else { // before the other, which lists once it stands: so the list comes after both
		defer mirror.Listen(p.at.keeper, p.key, &own{sight: s}).Stop()
	}
	defer mirror.FollowPart(p.at.keeper, watched, all, s).Stop()
	err := s.until(ctx, p.at.keeper, p.at.prefix, w.pause, func(n news) (bool, error) { return w.look(ctx, n) })
	return w.round, err
}

// waiting is what a party does while it waits.
type waiting struct {
	*party
	alive context.Context
	round round
	lost  bool // a party of this round is gone, which is to end it

	full   time.Time // since when the round is seen to be full, and nobody has said so; zero: it is not
	fullOf int64     // after which record
}

// dally is how long the last party of a round is given to publish it, before any other does.
const dally = 200 * time.Millisecond

func (w *waiting) pause() time.Duration {
	if !w.full.IsZero() {
		return dally
	}
	return 0
}

// look takes what was told. Nothing was: see what has become of a round that is full.
func (w *waiting) look(ctx context.Context, n news) (bool, error) {
	if n.doubt > 0 || n.revision == 0 && n.events == nil {
		return w.read(ctx, n.doubt)
	}
	before, next := w.seen.record.mod, w.seen
	var err error
	if n.revision > next.rev {
		next, err = w.at.snapshot(n.kvs, n.revision)
	}
	if err == nil {
		next, err = next.apply(w.at, n.events)
	}
	if err != nil {
		return false, err
	}
	w.learn(next)
	if v, _ := next.judge(w.create, w.parties); n.revision == 0 && before != next.record.mod && v == wait {
		return w.read(ctx, 0) // more parties than a round takes, and who of them stands the record does not tell
	}
	return w.judge(ctx)
}

// read looks, as of revision or later; zero: as the quorum has it.
func (w *waiting) read(ctx context.Context, revision int64) (bool, error) {
	var next snapshot
	err := w.at.keeper.Retry(ctx, w.alive, w.at.prefix, func(try context.Context) (err error) {
		if revision > 0 {
			revision = max(revision, w.seen.rev)
		}
		next, err = w.at.readAt(try, revision)
		return err
	})
	if err != nil {
		return false, err
	}
	w.learn(next)
	return w.judge(ctx)
}

func (w *waiting) learn(next snapshot) {
	same := w.seen.record.mod == next.record.mod
	w.lost = w.breaks && (w.lost && same || w.seen.departed(next, w.create))
	w.seen = next
}

// judge acts on what was seen, until there is nothing to do but wait.
func (w *waiting) judge(ctx context.Context) (done bool, err error) {
	for {
		v, r := w.seen.judge(w.create, w.parties)
		var next record
		var by []entry
		switch {
		case v == passed:
			w.round = r
			return true, nil
		case v == broken:
			return false, ErrBroken
		case v == gone:
			return false, keeper.ErrEntryGone
		case w.lost:
			next = w.seen.breakUp()
		case v == full:
			if next, by = w.seen.fill(w.parties, false); !w.due(by) {
				return false, nil
			}
		default:
			w.full = time.Time{}
			return false, nil
		}
		if err := w.write(ctx, next, by); err != nil {
			return false, err
		}
	}
}

// due says whether this party is to publish the round: its last does at once, and the others only if that one does not.
func (w *waiting) due(by []entry) bool {
	if mod := w.seen.record.mod; w.full.IsZero() || w.fullOf != mod {
		w.full, w.fullOf = time.Now(), mod
	}
	return by[len(by)-1].create == w.create || time.Since(w.full) >= dally*3/4
}

func (w *waiting) write(ctx context.Context, next record, by []entry) error {
	var s snapshot
	err := w.at.keeper.Retry(ctx, w.alive, w.at.prefix, func(try context.Context) (err error) {
		s, err = w.at.publish(try, w.seen, next, by)
		return err
	})
	if err == nil {
		w.learn(s)
	}
	return err
}
