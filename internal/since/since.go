// Package since tells, in etcd, since when an entry of a line has waited and has held, and for whom.
//
// etcd keeps no times, and a grant is no write. So whoever has waited, or held, for a second puts a note beside the line:
//
//	<namespace>since/<key of the entry, escaped>   {"revision":…, "owner":…, "waits":…, "holds":…}
//
// under the entry's lease, by a transaction that needs the entry; the transaction that deletes the entry deletes it, too. What is shorter than a
// second costs nothing. Times are those of the process's wall clock. Nobody's turn depends on a note: one that is refused, or comes late, is
// only missed by who looks. Entries that were put by one transaction, as those of a set are, have one note; its revision tells whose it is.
package since

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// Note is what stands in etcd of one entry.
type Note struct {
	Revision int64     `json:"revision"` // create revision of the entry
	Owner    string    `json:"owner,omitempty"`
	Waits    time.Time `json:"waits,omitzero"` // when it was put
	Holds    time.Time `json:"holds,omitzero"` // when it was granted; zero: it was not
}

// Mark is the note of an entry while that stands, or is about to. The zero value is one of nobody.
type Mark struct {
	book  *Book
	entry string
	lease clientv3.LeaseID
	note  Note

	due    time.Time // when it is to be told
	queued bool
	sent   bool // it may stand in etcd
	over   bool

	asked   func(keeper.Request) // is called once, if somebody wants the hold back
	listens bool                 // for that
	heard   bool
}

// Book has the marks of a session.
type Book struct {
	keeper *keeper.Keeper

	mu      sync.Mutex
	due     []*Mark // to be told, in the order in which they are due
	armed   bool
	telling bool
	until   time.Time                 // etcd has refused: nothing is told until then,
	deaf    time.Time                 // and nobody listens until then
	ears    map[clientv3.LeaseID]*ear // while something is held for a second under these leases
}

// Of is the book of k's session.
func Of(k *keeper.Keeper) *Book {
	type key struct{}
	return k.Table(key{}, func() any { return &Book{keeper: k, ears: map[clientv3.LeaseID]*ear{}} }).(*Book)
}

const (
	after   = time.Second            // what is shorter is not told
	gather  = 250 * time.Millisecond // so long others are waited for, to be told in the same transaction
	atOnce  = 32                     // notes in a transaction, each of which is a comparison and a put
	refused = time.Minute            // after a refusal nothing is told for so long
)

// Stands begins with an entry that stands in etcd since now, for owner. asked is called if somebody wants its hold back; it must not block.
func (b *Book) Stands(m *Mark, entry string, lease clientv3.LeaseID, revision int64, owner string, asked func(keeper.Request)) {
	now := time.Now().UTC().Truncate(time.Millisecond)
	b.mu.Lock()
	defer b.mu.Unlock()
	*m = Mark{book: b, entry: entry, lease: lease, note: Note{Revision: revision, Owner: owner, Waits: now}, asked: asked}
	b.queue(m, now)
}

// Holds says that the entry is granted, for owner. Only the first time counts.
func (m *Mark) Holds(owner string) {
	b := m.book
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !m.note.Holds.IsZero() || m.over {
		return
	}
	m.note.Holds = time.Now().UTC().Truncate(time.Millisecond)
	m.note.Owner = owner
	b.queue(m, m.note.Holds)
}

// Ends says that the entry is about to be deleted, and returns what else is to be.
func (m *Mark) Ends() []clientv3.Op {
	b := m.book
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	m.over = true
	b.deafen(m)
	if !m.sent {
		return nil
	}
	ops := []clientv3.Op{clientv3.OpDelete(keyspace.Since(b.keeper.Namespace, m.entry))}
	if m.heard {
		ops = append(ops, clientv3.OpDelete(m.request()))
	}
	return ops
}

// Done says that nobody counts on the entry any more, whether it stands or not.
func (m *Mark) Done() {
	if m.book == nil {
		return
	}
	m.book.mu.Lock()
	defer m.book.mu.Unlock()
	m.over = true
	m.book.deafen(m)
}

// Forget says that the note cannot be deleted, and returns whether there may be one: it ends with the lease.
func (m *Mark) Forget() bool {
	if m.book == nil {
		return false
	}
	m.book.mu.Lock()
	defer m.book.mu.Unlock()
	was := m.sent
	m.sent = false
	return was
}

// queue has m told in a while. It is called with the mutex held.
func (b *Book) queue(m *Mark, now time.Time) {
	m.due = now.Add(after)
	if !m.queued {
		m.queued = true
		b.due = append(b.due, m)
	}
	b.arm()
}

// arm is called with the mutex held.
func (b *Book) arm() {
	if b.armed || b.telling || len(b.due) == 0 {
		return
	}
	b.armed = true
	time.AfterFunc(max(time.Until(b.due[0].due), gather), func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.armed = false
		b.telling = b.keeper.Go(b.tell)
	})
}

// tell writes the notes that are due.
func (b *Book) tell(ctx context.Context) {
	for {
		marks := b.take()
		if marks == nil {
			return
		}
		err := b.write(ctx, marks)
		if err == nil {
			continue
		}
		b.keeper.Log.Debug("not told since when entries wait or hold", "entries", len(marks), "error", err)
		b.mu.Lock()
		if etcd.Final(err) { // nothing was written
			b.until = time.Now().Add(refused)
			for _, m := range marks {
				m.sent = false
			}
		} else if !etcd.LeaseGone(err) {
			for _, m := range marks {
				b.queue(m, time.Now())
			}
		}
		b.telling = false
		b.arm()
		b.mu.Unlock()
		return
	}
}

// take returns some notes that are due; nil: none is, and nobody is telling any more.
func (b *Book) take() (marks []*Mark) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	quiet := now.Before(b.until)
	var later []*Mark
	for i, m := range b.due {
		if len(marks) == atOnce {
			later = append(later, b.due[i:]...)
			break
		}
		switch {
		case m.over || quiet:
			m.queued = false
		case m.due.After(now):
			later = append(later, m)
		default:
			m.queued, m.sent = false, true
			marks = append(marks, m)
		}
	}
	b.due = later
	if marks == nil {
		b.telling = false
		b.arm()
	}
	return marks
}

func (b *Book) write(ctx context.Context, marks []*Mark) error {
	ctx, cancel := context.WithTimeout(ctx, b.keeper.RequestTimeout())
	defer cancel()
	var ops []clientv3.Op
	b.mu.Lock()
	for _, m := range marks {
		text, _ := json.Marshal(m.note) // it has nothing that JSON has not
		stands := clientv3.Compare(clientv3.CreateRevision(m.entry), "=", m.note.Revision)
		put := clientv3.OpPut(keyspace.Since(b.keeper.Namespace, m.entry), string(text), clientv3.WithLease(m.lease))
		ops = append(ops, clientv3.OpTxn([]clientv3.Cmp{stands}, []clientv3.Op{put}, nil))
	}
	b.mu.Unlock()
	if _, err := b.keeper.KV().Txn(ctx).Then(ops...).Commit(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range marks {
		if !m.over && !m.note.Holds.IsZero() {
			b.listen(m)
		}
	}
	return nil
}
