package barrier

import (
	"context"
	"errors"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
)

// withdraw takes the party out again, unless its round was full first: then it says which. It tries until the one or
// the other is known, or alive has ended, and the entry goes with the lease.
func (p *party) withdraw(alive context.Context) (r round, in bool) {
	p.persist(alive, func(ctx context.Context) (err error) {
		r, in, err = p.sendWithdraw(ctx)
		return err
	}, nil)
	if !in { // else it is still inside
		p.gone()
	}
	return r, in
}

// leave deletes the entry of a party whose round was full. tell hears once how the first attempt that was answered
// ended; a refusal is no reason to give up, for the entry would stay as long as the Session.
func (p *party) leave(alive context.Context, tell func(error)) {
	p.persist(alive, p.sendLeave, tell)
	p.gone()
}

// gone gives the entry's key and lease back.
func (p *party) gone() {
	slotsOf(p.at.keeper).free(p.key)
	p.epoch.Give(p.lease)
}

func (p *party) persist(alive context.Context, f func(context.Context) error, tell func(error)) {
	for {
		err := p.at.keeper.Retry(alive, alive, p.at.prefix, f)
		if tell != nil {
			tell(err)
			tell = nil
		}
		if err == nil || err == keeper.ErrEntryGone || alive.Err() != nil {
			return
		}
		p.at.keeper.Log.Debug("entry not deleted", "key", p.key, "error", err)
		etcd.Sleep(alive, etcd.Jitter(2*time.Second))
	}
}

func (p *party) sendWithdraw(ctx context.Context) (round, bool, error) {
	if p.create == 0 && p.entry.Unknown() {
		if err := p.fence(ctx); err != nil {
			return round{}, false, err
		}
	}
	if p.create == 0 {
		return round{}, false, nil
	}
	v, r := p.seen.judge(p.create, p.parties)
	if v == passed {
		return r, true, nil
	}
	out := []clientv3.Op{clientv3.OpDelete(p.key)}
	switch {
	case v == broken:
	case p.parties > maxCmps && !p.breaks: // see publication
		out = append(out, clientv3.OpPut(p.at.record, p.seen.record.encode()))
	case p.breaks:
		alone := clientv3.Compare(clientv3.CreateRevision(p.at.in).WithPrefix(), "=", p.create)
		tell := append([]clientv3.Op{clientv3.OpPut(p.at.record, p.seen.breakUp().encode())}, out...)
		out = []clientv3.Op{clientv3.OpTxn([]clientv3.Cmp{alone}, out, tell)}
	}
	// The record is compared, so that either this happens or the round is full: not both.
	done, err := p.delete(ctx, out, p.at.unwritten(p.seen))
	if err != nil || done {
		return round{}, false, err
	}
	if v, _ = p.seen.judge(p.create, p.parties); v == gone { // which round it passed is for who has not gone
		return round{}, false, nil
	}
	return round{}, false, etcd.Again
}

// fence makes an enter that is still on its way fail, and finds out whether it has happened.
func (p *party) fence(ctx context.Context) error {
	seen, revision, err := p.entry.Undo(ctx, p.at.look())
	if err != nil {
		return err
	}
	if p.seen, err = p.at.seen(seen[0], revision); err != nil {
		return err
	}
	for _, e := range p.seen.in {
		if e.key == p.key {
			p.create = e.create
		}
	}
	return nil
}

func (p *party) sendLeave(ctx context.Context) error {
	left, err := p.delete(ctx, []clientv3.Op{clientv3.OpDelete(p.key)})
	switch {
	case err != nil || left:
		return err
	case p.seen.stands(p.create):
		return etcd.Again
	case p.left: // by an earlier attempt
		return nil
	}
	return etcd.Settled(keeper.ErrEntryGone)
}

// delete runs out if the entry still stands, and cmps; else it says no, and either way looks.
func (p *party) delete(ctx context.Context, out []clientv3.Op, cmps ...clientv3.Cmp) (done bool, err error) {
	cmps = append(cmps, clientv3.Compare(clientv3.CreateRevision(p.key), "=", p.create))
	send := func(out []clientv3.Op) ([]*pb.ResponseOp, int64, error) {
		return p.entry.Undo(ctx, clientv3.OpTxn(cmps, out, nil), p.at.look())
	}
	answers, revision, err := send(out)
	if errors.Is(err, rpctypes.ErrNoSpace) && p.parties <= maxCmps { // etcd takes deletions only; the record's does as its writing
		answers, revision, err = send([]clientv3.Op{clientv3.OpDelete(p.key)})
	}
	if err != nil {
		p.left = p.left || etcd.Unknown(err)
		return false, err
	}
	p.seen, err = p.at.seen(answers[1], revision)
	return err == nil && answers[0].GetResponseTxn().Succeeded, err
}
