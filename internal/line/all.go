package line

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keeper"
)

// ErrOfSet says that a hold cannot be released by itself.
var ErrOfSet = errors.New("it belongs to a Set, which is released as a whole")

// errBroken says that an entry of a Set does not stand any more, and so the Set does not.
var errBroken = errors.New("line: entry of a set has gone")

// Member is one line of a Set, with the options for its entry there.
type Member struct {
	*Ref
	*Options
}

// All is a hold on several lines at once. Its entries came into their lines at one revision, so that all who hold or
// wait for several stand in the same order everywhere, and no two can wait for each other. They are not those of the
// local lines, and are never handed on.
//
// Each member has a Line of its own, in no table, which is lent its entry: it watches and judges, grants and loses;
// entering and leaving is done here, for all at once.
type All struct {
	keeper *keeper.Keeper
	table  *Table
	epoch  *keeper.Epoch
	caller context.Context
	parts  []*part

	mu       sync.Mutex
	ended    error // why; nil while it is held
	released bool
	since    time.Time
	ctx      context.Context
	cancel   context.CancelCauseFunc
}

type part struct {
	Member
	line  *Line
	place *place
	wait  *waiter
	hold  *Hold
}

// firstSlot is where the slots of Sets begin, next to the two of a local line.
const firstSlot = 2

type slotKey struct {
	prefix string
	lease  clientv3.LeaseID
	slot   int
}

// AcquireAll waits for a hold on all members. After an error nothing is held; when ctx ends it returns at once, and
// the entries are deleted in the background.
func AcquireAll(ctx context.Context, members []Member) (*All, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	began := time.Now()
	k := members[0].Keeper
	for {
		a := &All{keeper: k, table: Of(k), caller: ctx}
		err := a.enter(ctx, members)
		if err == nil {
			err = a.wait()
		}
		if err == nil {
			a.granted(began)
			return a, nil
		}
		a.leave(errBroken, make(chan error, 1))
		if !errors.Is(err, errBroken) && !errors.Is(err, keeper.ErrLost) {
			return nil, err
		}
	}
}

// enter puts an entry into every line, in one transaction.
func (a *All) enter(ctx context.Context, members []Member) error {
	epoch, err := a.keeper.Live(ctx)
	if err != nil {
		return err
	}
	a.epoch = epoch
	for _, m := range members {
		l := m.newLine()
		l.lent = true
		p := newPlace(l, epoch, a.table.takeSlot(m.Prefix, epoch.ID(), firstSlot))
		p.state = asked
		a.parts = append(a.parts, &part{Member: m, line: l, place: p})
	}
	brief := false // too many operations otherwise
	for failed := 0; ; {
		err := a.sendEnter(ctx, brief)
		switch {
		case err == nil:
			return a.entered()
		case errors.Is(err, errAgain), errors.Is(err, errSlot):
			continue
		case errors.Is(err, rpctypes.ErrTooManyOps) && !brief:
			brief = true
			continue
		case errors.Is(err, rpctypes.ErrTooManyOps):
			return fmt.Errorf("%d locks at once are more than etcd allows in one transaction (its --max-txn-ops, 128 by default): %w", len(a.parts), err)
		case leaseGone(err):
			epoch.Gone()
			return keeper.ErrRevoked
		case ctx.Err() != nil:
			return explainCtx(ctx, keeper.Explain(a.keeper.Client, err, a.keeper.Namespace))
		case keeper.Final(err):
			return keeper.Explain(a.keeper.Client, err, a.keeper.Namespace)
		}
		failed++
		if err := a.pause(ctx, failed); err != nil {
			return err
		}
	}
}

func explainCtx(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// pause waits before the next attempt; not longer than the lease lasts.
func (a *All) pause(ctx context.Context, failed int) error {
	t := time.NewTimer(min(10*time.Millisecond<<min(failed, 7), time.Second))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-a.epoch.Done():
		return a.epoch.Err()
	case <-a.keeper.Context().Done():
		return keeper.ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// sendEnter sends the enqueue of all. In brief it does not ask about the lines.
func (a *All) sendEnter(ctx context.Context, brief bool) error {
	ctx, cancel := context.WithTimeout(ctx, a.keeper.RequestTimeout())
	defer cancel()
	record := a.epoch.RecordRevision()
	cmps := []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(a.epoch.Record()), "=", record)}
	otherwise := []clientv3.Op{clientv3.OpGet(a.epoch.Record(), clientv3.WithKeysOnly())}
	var puts, looks []clientv3.Op
	for _, q := range a.parts {
		cmps = append(cmps, clientv3.Compare(clientv3.CreateRevision(q.place.key), "=", 0))
		puts = append(puts, clientv3.OpPut(q.place.key, q.Rule.Value, clientv3.WithLease(a.epoch.ID())))
		looks = append(looks, q.line.look())
		otherwise = append(otherwise, clientv3.OpGet(q.place.key))
	}
	then := puts
	if !brief {
		then = append(then, looks...)
	}
	resp, err := a.keeper.Client.Txn(ctx).If(cmps...).Then(then...).Else(otherwise...).Commit()
	if err != nil {
		if keeper.Unknown(err) && !leaseGone(err) {
			for _, q := range a.parts {
				q.place.unsure = true
			}
		}
		return err
	}
	if !resp.Succeeded {
		return a.refused(ctx, record, resp)
	}
	for i, q := range a.parts {
		q.place.entry = Entry{Key: q.place.key, Create: resp.Header.Revision, Mod: resp.Header.Revision, Lease: a.epoch.ID()}
		q.place.state = queued
		if !brief && q.line.looked(q.place, resp.Responses[len(puts)+i].GetResponseRange()) {
			q.place.state = first
		}
	}
	return nil
}

// refused finds out why. The answer shows the session's record and then each key.
func (a *All) refused(ctx context.Context, record int64, resp *clientv3.TxnResponse) error {
	taken := false
	adopted := 0
	for i, q := range a.parts {
		kvs := resp.Responses[i+1].GetResponseRange().Kvs
		if len(kvs) == 0 {
			continue
		}
		if q.place.unsure && clientv3.LeaseID(kvs[0].Lease) == a.epoch.ID() && kvs[0].CreateRevision == kvs[0].ModRevision {
			q.place.entry, q.place.state = entryOf(kvs[0]), queued
			adopted++
			continue
		}
		taken = true
		slot := a.table.takeSlot(q.Prefix, a.epoch.ID(), q.place.slot+1)
		a.table.freeSlot(q.Prefix, a.epoch.ID(), q.place.slot)
		unsure := q.place.unsure
		q.place = newPlace(q.line, a.epoch, slot)
		q.place.state, q.place.unsure = asked, unsure
	}
	switch kvs := resp.Responses[0].GetResponseRange().Kvs; {
	case adopted == len(a.parts): // an earlier attempt got through without its answer. Who is ahead we do not know.
		return nil
	case adopted > 0: // and somebody has deleted some of it since
		return errBroken
	case taken:
		return errSlot
	case len(kvs) == 0:
		return a.parts[0].line.keepRecord(ctx, a.epoch)
	case kvs[0].ModRevision < record:
		return fmt.Errorf("etcd has gone back from revision %d to %d", record, kvs[0].ModRevision)
	default:
		a.epoch.RecordWritten(kvs[0].ModRevision)
		return errAgain
	}
}

// entered hands each line its entry, unless there are too many before it.
func (a *All) entered() error {
	for _, q := range a.parts {
		if n := q.MaxWaiters; n > 0 && q.place.waiting >= n && q.place.state == queued {
			return fmt.Errorf("%q: %w", q.Name, fullError(q.place.waiting, n))
		}
	}
	for _, q := range a.parts {
		q.wait = &waiter{opts: q.Options, ctx: a.caller}
		l, p := q.line, q.place
		l.mu.Lock()
		l.occupy(p)
		l.joined(p, p.state == first)
		l.mu.Unlock()
		l.stand(q.wait)
	}
	return nil
}

// wait waits for all. What was granted may be lost again before the last one is.
func (a *All) wait() error {
	for _, q := range a.parts {
		h, _, err := q.line.await(q.wait)
		if err != nil {
			return err
		}
		q.hold = h
	}
	for {
		fresh, err := a.epoch.Fresh()
		if err != nil {
			return err
		}
		if fresh {
			break
		}
		if err := a.epoch.Renew(a.caller); err != nil {
			return err
		}
	}
	return nil
}

// granted is the end of AcquireAll. From here on the loss of one is the loss of all.
func (a *All) granted(began time.Time) {
	a.since = time.Now()
	for _, q := range a.parts {
		if q.MinHold > 0 {
			q.place.restUntil = a.since.Add(q.MinHold)
		}
		if f := a.keeper.Hooks.Granted; f != nil {
			f(q.Kind, q.Name, a.since.Sub(began))
		}
		q.hold.ends(func() { // with the line's mutex held
			if cause := q.hold.ended; cause != keeper.ErrNotHeld && a.end(cause) {
				a.keeper.Go(func(context.Context) { a.leave(cause, make(chan error, 1)) })
			}
		}, nil)
	}
}

// end marks the hold as over. It answers false if it was before. It may be called with a line's mutex held.
func (a *All) end(cause error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended != nil {
		return false
	}
	a.ended = cause
	if a.cancel != nil {
		a.cancel(cause)
	}
	return true
}

// check notices a loss that nobody has told of yet.
func (a *All) check() {
	for _, q := range a.parts {
		q.line.mu.Lock()
		q.hold.check()
		q.line.mu.Unlock()
	}
}

// Context ends with the hold.
func (a *All) Context() context.Context {
	a.check()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx == nil {
		ctx, cancel := context.WithCancelCause(context.WithoutCancel(a.caller))
		if a.ended != nil {
			cancel(a.ended)
		}
		a.ctx, a.cancel = allContext{ctx, a}, cancel
	}
	return a.ctx
}

// allContext looks at the clock when it is asked for its error, as holdContext does.
type allContext struct {
	context.Context
	all *All
}

func (c allContext) Err() error {
	if c.Context.Err() == nil {
		c.all.check()
	}
	return c.Context.Err()
}

// Hold is the part of the i-th member.
func (a *All) Hold(i int) *Hold { return a.parts[i].hold }

// Guard says that all entries still stand.
func (a *All) Guard() []clientv3.Cmp {
	var cmps []clientv3.Cmp
	for _, q := range a.parts {
		cmps = append(cmps, q.hold.Guard()...)
	}
	return cmps
}

// Release deletes all entries in one transaction. The request is the Session's own: ctx bounds only how long its
// answer is awaited.
func (a *All) Release(ctx context.Context) error {
	a.check()
	a.mu.Lock()
	if a.released {
		a.mu.Unlock()
		return keeper.ErrNotHeld
	}
	a.released = true
	lost := a.ended
	a.mu.Unlock()
	if lost == nil && !a.end(keeper.ErrNotHeld) { // lost at this very moment
		a.mu.Lock()
		lost = a.ended
		a.mu.Unlock()
	}
	if lost != nil {
		return lost
	}
	fate := make(chan error, 1)
	a.park()
	a.leave(keeper.ErrNotHeld, fate)
	if f := a.keeper.Hooks.Released; f != nil {
		for _, q := range a.parts {
			f(q.Kind, q.Name, time.Since(a.since))
		}
	}
	return awaitFate(ctx, fate)
}

// park marks the entries that have to stay for a while.
func (a *All) park() {
	for _, q := range a.parts {
		if p := q.place; time.Now().Before(p.restUntil) {
			p.parking = newLease()
		}
	}
}

// leave takes the entries from their lines and deletes them, or parks those that have to stay for a while.
func (a *All) leave(cause error, fate chan<- error) {
	for _, q := range a.parts {
		q.line.mu.Lock()
		if h := q.hold; h != nil && h.ended == nil {
			h.end(cause)
			if cause != keeper.ErrNotHeld {
				h.lost = cause
			}
		}
		q.place.leaving = true
		q.line.forget(q.place)
		q.line.closeView()
		q.line.mu.Unlock()
	}
	sent := slices.ContainsFunc(a.parts, func(q *part) bool { return q.place.unsure || q.place.state != asked })
	if !sent {
		a.freeSlots()
		return
	}
	if !a.keeper.Go(func(ctx context.Context) { fate <- a.persist(ctx) }) {
		fate <- keeper.ErrClosed
	}
}

func (a *All) freeSlots() {
	for _, q := range a.parts {
		a.table.freeSlot(q.Prefix, a.epoch.ID(), q.place.slot)
	}
}

// persist deletes the entries, and tries again until it is known that they are gone, or the lease is.
func (a *All) persist(ctx context.Context) error {
	defer a.freeSlots()
	for failed := 1; ; failed++ {
		err := a.sendLeave(ctx)
		switch {
		case err == nil, errors.Is(err, keeper.ErrLost):
			a.unpark()
			return err
		case leaseGone(err):
			a.epoch.Gone()
			return keeper.ErrRevoked
		case ctx.Err() != nil:
			return keeper.ErrClosed
		case keeper.Final(err):
			err = keeper.Explain(a.keeper.Client, err, a.keeper.Namespace)
			a.keeper.Log.Debug("entries not deleted, their lease will end them", "error", err)
			return err
		}
		if err := a.pause(ctx, failed); err != nil {
			return err
		}
	}
}

func (a *All) unpark() {
	for _, q := range a.parts {
		if q.place.parking != 0 {
			a.keeper.Go(func(ctx context.Context) { q.line.unpark(ctx, q.place) })
		}
	}
}

// sendLeave deletes each entry that is still ours. It answers ErrLost if one was not.
func (a *All) sendLeave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, a.keeper.RequestTimeout())
	defer cancel()
	unsure := a.parts[0].place.unsure
	for {
		record := a.epoch.RecordRevision()
		var cmps []clientv3.Cmp
		var then []clientv3.Op
		for _, q := range a.parts {
			p := q.place
			mine := p.untouched()
			if unsure { // an enqueue may have got through that we do not know
				mine = clientv3.Compare(clientv3.LeaseValue(p.key), "=", a.epoch.ID())
			}
			out := clientv3.OpDelete(p.key)
			if p.parking != 0 {
				if err := q.line.grantOnce(ctx, p.parking, time.Until(p.restUntil)); err != nil {
					return err
				}
				out = clientv3.OpPut(p.key, q.Rule.Value, clientv3.WithLease(p.parking))
			}
			then = append(then, clientv3.OpTxn([]clientv3.Cmp{mine}, []clientv3.Op{out}, nil))
		}
		if unsure { // and one that is still on its way must fail from here on
			cmps = []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(a.epoch.Record()), "=", record)}
			then = append(then, a.parts[0].line.writeRecord(a.epoch))
		}
		resp, err := a.keeper.Client.Txn(ctx).If(cmps...).Then(then...).
			Else(clientv3.OpGet(a.epoch.Record(), clientv3.WithKeysOnly())).Commit()
		if err != nil {
			parked := false
			for _, q := range a.parts {
				q.place.left = q.place.left || keeper.Unknown(err)
				parked = parked || q.place.parking != 0
			}
			if parked && leaseGone(err) { // which of them?
				return errParkEnded
			}
			return err
		}
		if resp.Succeeded {
			if unsure {
				a.epoch.RecordWritten(resp.Header.Revision)
			}
			return a.fate(resp.Responses[:len(a.parts)])
		}
		kvs := resp.Responses[0].GetResponseRange().Kvs
		if len(kvs) == 0 {
			if err := a.parts[0].line.keepRecord(ctx, a.epoch); !errors.Is(err, errAgain) {
				return err
			}
			continue
		}
		a.epoch.RecordWritten(kvs[0].ModRevision)
	}
}

// fate reads which entries were deleted.
func (a *All) fate(ops []*pb.ResponseOp) error {
	for i, q := range a.parts {
		if p := q.place; p.state != asked && !p.left && !ops[i].GetResponseTxn().Succeeded {
			return keeper.ErrLost
		}
	}
	return nil
}

// takeSlot is the lowest slot from least on that no other Set of this Session uses in the line.
func (t *Table) takeSlot(prefix string, lease clientv3.LeaseID, least int) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	for slot := least; ; slot++ {
		if key := (slotKey{prefix, lease, slot}); !t.slots[key] {
			t.slots[key] = true
			return slot
		}
	}
}

func (t *Table) freeSlot(prefix string, lease clientv3.LeaseID, slot int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.slots, slotKey{prefix, lease, slot})
}
