package keeper

import (
	"context"
	"errors"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
)

// Undoable is a write that never takes effect after it was given up.
//
// A request whose answer was lost may be on its way for long. So each attempt compares the session's record, and whoever gives up after such
// an attempt writes the record: what is still on its way fails from then on.
//
// The zero value is not of use; one goroutine at a time may call it.
type Undoable struct {
	Epoch   *Epoch
	unknown bool
}

// Unknown says that an attempt may have taken effect, or may yet.
func (u *Undoable) Unknown() bool { return u.unknown }

// Doubt makes it Unknown: of what an answer shows, too little could be understood.
func (u *Undoable) Doubt() { u.unknown = true }

// Attempt is a transaction.
type Attempt struct {
	If         []clientv3.Cmp
	Then, Else []clientv3.Op
	// Fence has every earlier attempt of the session fail that is still on its way, if this one takes effect.
	Fence bool
}

// Attempted is its answer; the Responses are to Then, or to Else.
type Attempted struct {
	*clientv3.TxnResponse
	epoch  *Epoch
	sent   int64                 // which revision of the record was compared
	record *clientv3.GetResponse // as it was, if it did not take effect
}

// Commit makes an attempt.
func (u *Undoable) Commit(ctx context.Context, a Attempt) (*Attempted, error) {
	e := u.Epoch
	sent, then := e.RecordRevision(), a.Then
	if a.Fence {
		then = append(slices.Clone(then), e.writeRecord())
	}
	resp, err := e.k.KV().Txn(ctx).If(append(a.If, e.recordAt(sent))...).Then(then...).
		Else(append(a.Else, clientv3.OpGet(e.record, clientv3.WithKeysOnly()))...).Commit()
	if err != nil {
		u.unknown = u.unknown || etcd.Unknown(err)
		return nil, err
	}
	done := &Attempted{TxnResponse: resp, epoch: e, sent: sent}
	switch last := len(resp.Responses) - 1; {
	case !resp.Succeeded:
		done.record = (*clientv3.GetResponse)(resp.Responses[last].GetResponseRange())
		resp.Responses = resp.Responses[:last]
	case a.Fence:
		e.RecordWritten(resp.Header.Revision)
		resp.Responses = resp.Responses[:last]
	}
	return done, nil
}

// Stale tells whether an attempt did not take effect for its comparison of the record: then it returns Again, or why there is no sense in
// that, and else nil. A record that somebody has deleted is written again.
//
// By now others of the session may know of a later record than was compared; that the answer shows an earlier one than theirs means nothing.
func (a *Attempted) Stale(ctx context.Context) error {
	e := a.epoch
	if len(a.record.Kvs) == 0 {
		resp, err := e.k.KV().Do(ctx, e.writeRecord())
		if err != nil {
			return err
		}
		e.RecordWritten(resp.Put().Header.Revision)
		return etcd.Again
	}
	switch now := a.record.Kvs[0].ModRevision; {
	case now > a.sent:
		e.RecordWritten(now)
		return etcd.Again
	case now < a.sent:
		e.Rewound(a.sent, now)
		return etcd.Settled(e.Err())
	}
	return nil
}

// Undo commits ops. After an attempt of unknown outcome it also has that fail, if it is still on its way: so ops find all that attempts have
// left, and nothing is unknown any more. It returns the answers to ops, and their revision.
func (u *Undoable) Undo(ctx context.Context, ops ...clientv3.Op) (answers []*pb.ResponseOp, revision int64, err error) {
	if u.unknown {
		answers, revision, err = u.Epoch.fence(ctx, ops)
		u.unknown = err != nil
		return answers, revision, err
	}
	resp, err := u.Epoch.k.KV().Txn(ctx).Then(ops...).Commit()
	if err != nil {
		return nil, 0, err
	}
	return resp.Responses, resp.Header.Revision, nil
}

func (e *Epoch) recordAt(revision int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(e.record), "=", revision)
}

func (e *Epoch) writeRecord() clientv3.Op {
	return clientv3.OpPut(e.record, e.k.Record, clientv3.WithLease(e.id))
}

// fence commits ops and writes the record, or, where etcd has no space for that, deletes it. The next attempt finds it missing then, and has
// it written.
func (e *Epoch) fence(ctx context.Context, ops []clientv3.Op) (answers []*pb.ResponseOp, revision int64, err error) {
	record, known := e.writeRecord(), e.RecordRevision()
	for ctx.Err() == nil {
		least := e.RecordRevision() // the answer to what is sent from here on cannot be older
		resp, err := e.k.KV().Txn(ctx).If(e.recordAt(known)).
			Then(append(slices.Clone(ops), record)...).
			Else(clientv3.OpGet(e.record, clientv3.WithKeysOnly())).Commit()
		switch {
		case errors.Is(err, rpctypes.ErrNoSpace) && record.IsPut():
			record = clientv3.OpDelete(e.record)
			continue
		case err != nil:
			return nil, 0, err
		case resp.Succeeded:
			if record.IsPut() {
				e.RecordWritten(resp.Header.Revision)
			}
			return resp.Responses[:len(ops)], resp.Header.Revision, nil
		}
		kvs := resp.Responses[0].GetResponseRange().Kvs
		switch {
		case len(kvs) == 0: // somebody has deleted it, which fences as well
			known = 0
		case kvs[0].ModRevision < least:
			e.Rewound(least, kvs[0].ModRevision)
			return nil, 0, e.Err()
		default:
			known = kvs[0].ModRevision
			e.RecordWritten(known)
		}
	}
	return nil, 0, context.Cause(ctx)
}
