package line

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// place is an entry of ours in etcd, or the wish for one. The line's mutex guards it; the first five never change.
type place struct {
	epoch *keeper.Epoch
	lease clientv3.LeaseID // one of the epoch's
	table *Table
	slot  slotKey
	key   string
	taken bool // a stranger has an entry there
	freed bool // its slot was given back; guarded by the table's mutex

	state   placeState
	entry   Entry // valid from state queued on
	enqueue keeper.Undoable
	gone    bool          // see situation
	leaving bool          // see situation
	left    bool          // a leave went unanswered once, so that it may have happened
	count   int64         // entries in the line when ours joined; 0: not known
	waiting int           // how many of those before ours had not entered then
	others  *heldError    // whom a try has found in the line
	pred    Entry         // who has to leave before us, as far as we know
	alone   bool          // it does, whatever others do
	long    bool          // the line was seen to be long
	check   bool          // ask etcd whether our turn has come
	quorum  bool          // and not just the nearest member
	asked   time.Duration // when the last enqueue was sent, on the keeper's clock
	dog     *time.Timer   // see watchdog
	asks    int           // times that it has had etcd asked

	before    []Entry     // who was ahead, in order, at
	beforeRev int64       // when we looked last; only if the line is careful
	departed  []departure // of these, who has gone; see inquire
	diedAt    time.Time   // when the last of those who died was found to be gone
	timer     *time.Timer // see alarm

	turns   turns
	uses    int  // local grants
	passed  int  // of these, in a row while others waited, after the first
	exposed bool // a holder has looked at it
	old     bool // has been ours for over a second

	restUntil time.Time        // nobody else may have it before; zero: see WithMinHold
	parking   clientv3.LeaseID // the lease to which the entry is being moved; see park
	kept      bool             // it cannot be moved, and stays under the Session's lease until then
	rewrite   *rewrite         // of the value, under way
	rewritten bool             // once at least

	fates []chan error // where releases read that wait for the entry's end
}

// longLine is the length from which an enqueue only counts the line, and the predecessor is looked up outside. Finding
// it inside the transaction sorts the whole line while etcd applies it: 3 ms at 5 000 entries. A line that is watched
// as a whole is only counted, too: who is ahead the view tells.
const longLine = 512

// guard is "this very entry still stands": deleting and creating it again changes the one, overwriting the other.
// With mode it holds only for a reader, or only for a writer: a downgrade ends the one.
func (p *place) guard(mode bool) []clientv3.Cmp {
	cmps := []clientv3.Cmp{
		clientv3.Compare(clientv3.CreateRevision(p.key), "=", p.entry.Create),
		clientv3.Compare(clientv3.LeaseValue(p.key), "=", p.lease),
	}
	if mode {
		cmps = append(cmps, clientv3.Compare(clientv3.Value(p.key), "=", string(p.entry.Value)))
	}
	return cmps
}

// untouched says the same in one comparison, of an entry that we know to the last change: each costs etcd some 10 µs.
func (p *place) untouched() clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(p.key), "=", p.entry.Mod)
}

// stands says the same of any entry.
func (p *place) stands() []clientv3.Cmp {
	if p.rewritten { // which of its values it has, we may not know
		return p.guard(false)
	}
	return []clientv3.Cmp{p.untouched()}
}

// errSlot: the slot's key is taken by an entry that is not ours.
var errSlot = errors.New("line: slot taken")

// errOthers: a try found others in the line.
var errOthers = errors.New("line: others ahead")

// sendJoin sends the enqueue of p. With old it also leaves old, in the same transaction; with try it writes only if p
// would be first. It fills in what p knows of the line, and says whether p is first.
func (l *Line) sendJoin(ctx context.Context, p, old *place, try bool, look clientv3.Op) (bool, error) {
	value := l.rule.Value
	put := clientv3.OpPut(p.key, value, clientv3.WithLease(p.lease))
	cmps := []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(p.key), "=", 0)}
	var terms Terms
	if l.rule.Terms != nil {
		terms = l.rule.Terms()
	}
	cmps = append(cmps, terms.If...)
	then := append(slices.Clone(terms.Then), put, look)
	if try {
		then = []clientv3.Op{l.ifFirst(put)}
	}
	if old != nil {
		cmps = append(cmps, old.stands()...)
		then = append([]clientv3.Op{clientv3.OpDelete(old.key)}, then...)
	}
	resp, err := p.enqueue.Commit(ctx, keeper.Attempt{If: cmps, Then: then, Else: append(terms.Else, clientv3.OpGet(p.key)),
		Fence: old != nil && old.enqueue.Unknown()})
	if err != nil {
		return false, err
	}
	if !resp.Succeeded {
		return l.joinRefused(ctx, p, terms, resp)
	}
	last := resp.Responses[len(resp.Responses)-1]
	if try {
		wrote, others := tried(last.GetResponseTxn())
		if !wrote {
			p.others = heldBy(resp.Header.Revision, others)
			return false, errOthers
		}
	}
	p.entry = Entry{Key: p.key, Create: resp.Header.Revision, Mod: resp.Header.Revision, Lease: p.lease, Value: []byte(value)}
	if try {
		p.count = 1
		return true, nil
	}
	return l.looked(p, last.GetResponseRange()), nil
}

// look is what an enqueue asks about the line, as far as one can tell beforehand what it will need to know.
func (l *Line) look() clientv3.Op {
	switch {
	case l.length > longLine, !l.rule.Values && !l.careful && !l.lent && l.length <= shortLine:
		return clientv3.OpGet(l.prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	case l.rule.Values, l.careful:
		return clientv3.OpGet(l.prefix, clientv3.WithPrefix())
	}
	return clientv3.OpGet(l.prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(2),
		clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortDescend))
}

// looked takes the answer to look, and says whether p is first.
func (l *Line) looked(p *place, line *pb.RangeResponse) bool {
	p.count = line.Count
	p.waiting = int(max(p.count-2, 0)) // all but ours and one who holds
	if p.count == 1 || len(line.Kvs) == 0 {
		return p.count == 1
	}
	entries := entriesOf(line.Kvs)
	if l.rule.Values {
		p.waiting = l.rule.waiting(entries, p.entry)
	}
	if len(entries) == int(p.count) { // all of them: the line is careful
		p.before, p.beforeRev = ahead(entries, p.entry), p.entry.Create
	}
	verdict, by := l.rule.judge(p.entry.Create, entries, p.entry)
	p.blockedBy(by, &l.rule, entries)
	return verdict == granted
}

// blockedBy notes who has to leave before p.
func (p *place) blockedBy(by Entry, rule *Rule, entries []Entry) {
	p.pred = by
	p.alone = rule.Alone == nil || rule.Alone(ahead(entries, p.entry))
}

// ifFirst is put, if nobody is in the line who would keep us from entering. Else it shows who is there: a few of them, in no
// order, since putting a long line in order would hold up etcd.
func (l *Line) ifFirst(put clientv3.Op) clientv3.Op {
	empty := clientv3.Compare(clientv3.CreateRevision(l.prefix).WithPrefix(), "=", 0)
	otherwise := []clientv3.Op{clientv3.OpGet(l.prefix, clientv3.WithPrefix(), clientv3.WithLimit(shortLine))}
	if l.rule.Joins != nil { // all of them are readers
		same := clientv3.Compare(clientv3.Value(l.prefix).WithPrefix(), "=", l.rule.Value)
		otherwise = []clientv3.Op{clientv3.OpTxn([]clientv3.Cmp{same}, []clientv3.Op{put}, otherwise)}
	}
	return clientv3.OpTxn([]clientv3.Cmp{empty}, []clientv3.Op{put}, otherwise)
}

// tried says whether ifFirst wrote, or who was there.
func tried(resp *pb.TxnResponse) (wrote bool, others *pb.RangeResponse) {
	for !resp.Succeeded {
		inner := resp.Responses[0].GetResponseTxn()
		if inner == nil {
			return false, resp.Responses[0].GetResponseRange()
		}
		resp = inner
	}
	return true, nil
}

// joinRefused finds out why. The answer shows p's key.
func (l *Line) joinRefused(ctx context.Context, p *place, terms Terms, resp *keeper.Attempted) (bool, error) {
	asked, kvs := resp.Responses[:len(terms.Else)], resp.Responses[len(terms.Else)].GetResponseRange().Kvs
	if len(kvs) == 1 && p.enqueue.Unknown() && clientv3.LeaseID(kvs[0].Lease) == p.lease && kvs[0].CreateRevision == kvs[0].ModRevision && string(kvs[0].Value) == l.rule.Value {
		// An earlier attempt got through without its answer: ours to adopt. Who is ahead we do not know.
		p.entry, p.count, p.waiting = entryOf(kvs[0]), 0, 0
		return false, nil
	}
	if len(kvs) == 1 {
		return false, fmt.Errorf("%w: %q", errSlot, p.key)
	}
	if err := resp.Stale(ctx); err != nil {
		return false, err
	}
	if terms.Refused != nil {
		again, err := terms.Refused(asked)
		if err != nil {
			return false, refusal{err}
		}
		if again {
			return false, etcd.Again
		}
	}
	return false, keeper.ErrEntryGone // only old's guard can have failed
}

// leave deletes p's entry. It answers ErrLost if the entry was not there any more. When an earlier leave went
// unanswered, an entry that is not there was deleted by that one.
func (l *Line) leave(ctx context.Context, p *place) error {
	if p.enqueue.Unknown() {
		return l.leaveUnsure(ctx, p)
	}
	resp, err := l.keeper.KV().Txn(ctx).If(p.stands()...).Then(clientv3.OpDelete(p.key)).
		Else(clientv3.OpGet(p.key, clientv3.WithKeysOnly())).Commit()
	switch {
	case err != nil:
		p.left = p.left || etcd.Unknown(err)
		return err
	case resp.Succeeded:
		return nil
	}
	return p.fateOf(createOf(resp.Responses[0]))
}

// leaveUnsure leaves while an enqueue may be on its way: whatever it has left must go.
func (l *Line) leaveUnsure(ctx context.Context, p *place) error {
	ours := []clientv3.Cmp{clientv3.Compare(clientv3.LeaseValue(p.key), "=", p.lease)}
	out := []clientv3.Op{clientv3.OpGet(p.key, clientv3.WithKeysOnly()), clientv3.OpTxn(ours, []clientv3.Op{clientv3.OpDelete(p.key)}, nil)}
	resp, _, err := p.enqueue.Undo(ctx, out...)
	if err != nil {
		p.left = p.left || etcd.Unknown(err)
		return err
	}
	if was := createOf(resp[0]); was != p.entry.Create {
		return p.fateOf(was)
	}
	return nil
}

// fateOf judges an entry by the create revision that a leave has found; zero: none.
func (p *place) fateOf(was int64) error {
	if p.state == asked || p.left && was == 0 {
		return nil
	}
	return keeper.ErrLost
}

// createOf is the create revision in an answer about one key; zero without one.
func createOf(op *pb.ResponseOp) int64 {
	kvs := op.GetResponseRange().Kvs
	if len(kvs) == 0 {
		return 0
	}
	return kvs[0].CreateRevision
}

// stillBehind asks the quorum, where that is all there is to ask, whether p's entry and the one before it stand as they did. That costs etcd the
// same whoever else is in the line.
func (l *Line) stillBehind(ctx context.Context, p *place, quorum bool) (bool, error) {
	if !quorum || !p.alone || p.pred.Key == "" || p.pred.Mod == 0 || l.rule.Alone != nil || l.rule.Yields != nil || l.careful {
		return false, nil
	}
	cmps := append(p.stands(), clientv3.Compare(clientv3.ModRevision(p.pred.Key), "=", p.pred.Mod))
	read := clientv3.OpGet(p.key, clientv3.WithKeysOnly()) // a transaction that reads nothing is answered by one member
	resp, err := l.keeper.KV().Txn(ctx).If(cmps...).Then(read).Else(read).Commit()
	if err != nil {
		return false, err
	}
	return resp.Succeeded, nil
}

// confirm asks whether p stands in the line, and who has to leave before it. The entries up to p's own revision say
// both; the last two of them, if the rule needs no more.
func (l *Line) confirm(ctx context.Context, p *place, revision int64, quorum bool) (*clientv3.GetResponse, error) {
	opts := []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithMaxCreateRev(p.entry.Create)}
	if !l.rule.Values {
		opts = append(opts, clientv3.WithKeysOnly(), clientv3.WithLimit(2), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortDescend))
	}
	if quorum {
		return l.keeper.KV().Get(ctx, l.prefix, opts...)
	}
	return l.readAt(ctx, max(revision, p.entry.Create), l.prefix, opts...)
}

// newPlace takes a slot on lease, which the epoch has chosen for it.
func (l *Line) newPlace(e *keeper.Epoch, lease clientv3.LeaseID) *place {
	least := 0
	if l.rule.Values {
		least = 1 // so that all keys have one shape, which no mutex writes
	}
	slot := l.table.takeSlot(l.prefix, lease, least)
	return &place{epoch: e, enqueue: keeper.Undoable{Epoch: e}, lease: lease, table: l.table, slot: slot, key: keyspace.Entry(l.prefix+l.rule.Dir, lease, slot.slot) + l.rule.Suffix,
		state: asked, alone: l.rule.Alone == nil}
}

// another is a place beside p, for another entry of the same Session.
func (l *Line) another(p *place) *place {
	p.epoch.Again(p.lease)
	return l.newPlace(p.epoch, p.lease)
}

// free gives back the slot. The entry is known to be gone, and nothing on its way can bring it back.
func (p *place) free() { p.table.freeSlot(p) }
