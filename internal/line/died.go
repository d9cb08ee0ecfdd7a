package line

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// departure is an entry before ours whose end we have seen.
type departure struct {
	entry    Entry
	revision int64 // at which it was deleted; 0: not known
	seen     time.Time
}

// watchDepartures notes which of those who have entered are about to leave the view. Those who only waited are of no
// interest: nobody has to fear what they still do.
func (l *Line) watchDepartures(events []*mvccpb.Event) {
	p, v := l.place, l.view
	if !l.careful || p == nil || p.state != queued || v.end == "" {
		return
	}
	line := slices.Clone(v.entries)
	inOrder(line)
	for _, e := range line[:l.rule.In(line)] {
		i := slices.IndexFunc(events, func(ev *mvccpb.Event) bool {
			return ev.Type == mvccpb.Event_DELETE && string(ev.Kv.Key) == e.Key && ev.Kv.ModRevision > e.Mod
		})
		if i >= 0 && e.Create < p.entry.Create {
			p.departed = append(p.departed, departure{e, events[i].Kv.ModRevision, time.Now()})
		}
	}
}

// inquire finds out whether any of those who held before us has died. Until it is known, the entry is not granted.
func (l *Line) inquire(ctx context.Context) error {
	p := l.place
	for len(p.departed) > 0 {
		d := p.departed[0]
		var died bool
		err := l.request(ctx, func(ctx context.Context) (err error) {
			died, err = l.died(ctx, d)
			return err
		})
		if l.place != p {
			return nil
		}
		if err != nil {
			return err
		}
		if died && d.seen.After(p.diedAt) {
			p.diedAt = d.seen
		}
		p.departed = p.departed[1:]
	}
	return nil
}

// died tells an entry that went with its lease from one that was deleted. A lease takes all its keys along at one
// revision, the session's record among them; a session that is closed says so in its record first. Of a stranger, who
// has no record, we know only whether his lease is still there. What cannot be found out counts as a death.
func (l *Line) died(ctx context.Context, d departure) (bool, error) {
	record := keyspace.Session(l.keeper.Namespace, d.entry.Lease)
	if d.revision == 0 {
		resp, err := l.keeper.Client.Get(ctx, record)
		if err != nil {
			return false, err
		}
		if len(resp.Kvs) == 1 {
			return false, nil
		}
		return l.leaseIsGone(ctx, d.entry.Lease)
	}
	resp, err := l.keeper.Client.Txn(ctx).Then(
		clientv3.OpGet(record, clientv3.WithRev(d.revision-1)),
		clientv3.OpGet(record, clientv3.WithRev(d.revision), clientv3.WithKeysOnly())).Commit()
	if errors.Is(err, rpctypes.ErrCompacted) {
		return l.died(ctx, departure{entry: d.entry})
	}
	if err != nil {
		return false, err
	}
	before, after := resp.Responses[0].GetResponseRange().Kvs, resp.Responses[1].GetResponseRange().Kvs
	switch {
	case len(after) == 1, len(before) == 1 && keeper.Closing(string(before[0].Value)):
		return false, nil
	case len(before) == 1:
		return true, nil
	}
	return l.leaseIsGone(ctx, d.entry.Lease)
}

func (l *Line) leaseIsGone(ctx context.Context, id clientv3.LeaseID) (bool, error) {
	if id == clientv3.NoLease {
		return false, nil
	}
	resp, err := l.keeper.Client.TimeToLive(ctx, id)
	if err != nil && !leaseGone(err) {
		return false, err
	}
	return err != nil || resp.TTL <= 0, nil
}
