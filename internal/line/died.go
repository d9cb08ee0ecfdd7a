package line

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// departure is an entry before ours that does not stand any more.
type departure struct {
	entry       Entry
	stood, gone int64 // revisions: it was deleted after the one, and no later than the other
	seen        time.Time
}

// beCareful is told of each caller's options. From the first take-over delay on, account is kept of who is before us.
func (l *Line) beCareful(opts *Options) {
	if l.careful || opts.TakeoverDelay == 0 {
		return
	}
	l.careful = true
	if p, v := l.place, l.view; p != nil && p.state == queued && v != nil && v.end != "" && v.ready && v.rev >= p.entry.Create {
		l.note(v.entries, v.rev)
	}
}

// note keeps up who is before us, from a list of all that are, as of revision, and who has gone since the last one.
func (l *Line) note(entries []Entry, revision int64) {
	p := l.place
	if !l.careful || p.state != queued || revision < p.beforeRev {
		return
	}
	now := ahead(entries, p.entry)
	for _, e := range p.before {
		if slices.ContainsFunc(now, func(o Entry) bool { return o.Create == e.Create }) {
			continue
		}
		p.departed = append(p.departed, departure{e, p.beforeRev, revision, time.Now()})
	}
	p.before, p.beforeRev = now, revision
}

// noteEvents keeps up who is before us as they leave. Those who only waited are of no interest: nobody has to fear
// what they still do.
func (l *Line) noteEvents(events []*mvccpb.Event) {
	p := l.place
	if !l.careful || p == nil || p.state != queued {
		return
	}
	for _, ev := range events {
		rev := ev.Kv.ModRevision
		if rev <= p.beforeRev {
			continue
		}
		i := slices.IndexFunc(p.before, func(e Entry) bool { return e.Key == string(ev.Kv.Key) })
		if ev.Type != mvccpb.Event_DELETE || i < 0 {
			continue
		}
		if i < l.rule.In(p.before) {
			p.departed = append(p.departed, departure{p.before[i], rev - 1, rev, time.Now()})
		}
		p.before = slices.Delete(p.before, i, i+1)
	}
}

// inquire finds out whether any of those who held before us has died. Until it is known, the entry is not granted.
func (l *Line) inquire(ctx context.Context) error {
	p := l.place
	for len(p.departed) > 0 {
		d := p.departed[0]
		if l.queue.Len() == 0 {
			return nil
		}
		if time.Since(d.seen) >= l.queue.Front().Value.(*waiter).opts.TakeoverDelay { // however it ended
			p.departed = p.departed[1:]
			continue
		}
		var died bool
		err := l.request(ctx, func(ctx context.Context) (err error) {
			died, err = l.died(ctx, d)
			return err
		})
		if l.place != p {
			return nil
		}
		if err != nil && !etcd.Final(err) {
			return err
		}
		died = died || err != nil
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
	lease, _, ours := keyspace.ParseEntry(strings.TrimPrefix(d.entry.Key, l.prefix))
	if ours && lease != d.entry.Lease {
		return false, nil // parked: released, but too soon
	}
	kv := l.keeper.Client
	for d.gone > d.stood+1 { // at which revision was it deleted?
		at := d.stood + (d.gone-d.stood)/2
		resp, err := kv.Get(ctx, d.entry.Key, clientv3.WithRev(at), clientv3.WithKeysOnly())
		switch {
		case errors.Is(err, rpctypes.ErrCompacted):
			return l.leaseIsGone(ctx, d.entry.Lease)
		case err != nil:
			return false, err
		case len(resp.Kvs) == 1 && resp.Kvs[0].CreateRevision == d.entry.Create:
			d.stood = at
		default:
			d.gone = at
		}
	}
	record := keyspace.Session(l.keeper.Namespace, d.entry.Lease)
	resp, err := kv.Txn(ctx).Then(
		clientv3.OpGet(record, clientv3.WithRev(d.stood)),
		clientv3.OpGet(record, clientv3.WithRev(d.gone), clientv3.WithKeysOnly())).Commit()
	if errors.Is(err, rpctypes.ErrCompacted) {
		return l.leaseIsGone(ctx, d.entry.Lease)
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
	if err != nil && !etcd.LeaseGone(err) {
		return false, err
	}
	return err != nil || resp.TTL <= 0, nil
}
