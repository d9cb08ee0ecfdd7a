package election

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/internal/queue"
)

// TransferTo resigns in favour of a candidate that waits, by its key (Candidates tells). Those before it step aside
// first, while this term goes on: then nobody leads in between. The candidate has to show that it is alive, after it was
// named: one of fenceline by an answer, one of etcd's own package by a lease that has half of its TTL left at least.
//
// ErrTransfer, and the term goes on as before: the key is not one of this election; nobody waits under it; that candidate has
// not answered before ctx ended, or within 5 s if it has no deadline: it is stopped, cut off from etcd, or dead; or somebody
// who is before it has not made room until then; those of etcd's own package never do. A term that has ended is an error
// as of Resign. When ctx ends after all that, the term has ended, though that is not confirmed yet: its Context tells.
func (t *Term) TransferTo(ctx context.Context, key string) error {
	if err := t.transferTo(ctx, key); err != nil {
		return t.election.failed(fmt.Sprintf("transfer to %q in", key), err)
	}
	return nil
}

func (t *Term) transferTo(ctx context.Context, key string) error {
	prefix := t.election.prefix
	rest, ok := strings.CutPrefix(key, prefix)
	_, isTransfer := keyspace.Transferred(prefix, key)
	switch {
	case !ok || rest == "" || isTransfer:
		return fmt.Errorf("%w: not a key of this election, whose keys begin with %q", ErrTransfer, prefix)
	case key == t.hold.Key(0):
		return fmt.Errorf("%w: it leads already", ErrTransfer)
	}
	ctx, cancel := etcd.Bounded(ctx)
	defer cancel()
	select { // one at a time
	case t.transfer <- struct{}{}:
		defer func() { <-t.transfer }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	mark := keyspace.Transfer(prefix, key)
	if t.hold.DeleteWith(mark) { // it goes when we do, however that is
		if err := t.prepare(ctx, key, mark); err != nil && !errors.Is(err, errTermOver) {
			t.unmark(mark, errors.Is(err, ErrTransfer))
			return err
		}
	}
	return t.hold.Release(ctx)
}

// errTermOver: whatever was to be transferred has ended; Release says how.
var errTermOver = errors.New("the term is over")

// candidate is one who waits, as etcd shows him.
type candidate struct {
	key    string
	create int64
	lease  clientv3.LeaseID
	ours   bool // it has a session in our namespace, and answers when it is named
}

// prepare names the candidate, and waits until nobody is before it and it has shown that it is alive.
func (t *Term) prepare(ctx context.Context, key, mark string) error {
	client, prefix := t.election.keeper.Client, t.election.prefix
	c, err := t.find(ctx, key)
	if err != nil {
		return err
	}
	if !c.ours {
		if err := t.renewed(ctx, c); err != nil {
			return err
		}
	}
	watched, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	changes := client.Watch(watched, prefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	there := clientv3.Compare(clientv3.CreateRevision(key), "=", c.create)
	resp, err := t.election.keeper.KV().Txn(ctx).If(append(t.hold.Guard(0), there)...).
		Then(clientv3.OpPut(mark, markNamed, clientv3.WithLease(t.hold.Lease(0)))).
		Else(clientv3.OpGet(key, clientv3.WithKeysOnly())).Commit()
	switch {
	case err != nil:
		return etcd.Explain(client, err, prefix)
	case !resp.Succeeded && len(resp.Responses[0].GetResponseRange().Kvs) == 0:
		return errNoCandidate
	case !resp.Succeeded:
		return errTermOver
	}
	for {
		why, err := t.missing(ctx, c, mark)
		if why == "" || err != nil {
			return err
		}
		if err := t.await(ctx, changes); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrTransfer, why, err)
		}
		if t.Context().Err() != nil {
			return errTermOver
		}
	}
}

var errNoCandidate = fmt.Errorf("%w: no candidate waits under that key", ErrTransfer)

// find reads the candidate, and whether it is one that answers.
func (t *Term) find(ctx context.Context, key string) (candidate, error) {
	k := t.election.keeper
	resp, err := k.KV().Get(ctx, key, clientv3.WithKeysOnly())
	if err != nil {
		return candidate{}, k.Explain(err, t.election.prefix)
	}
	if len(resp.Kvs) == 0 {
		return candidate{}, errNoCandidate
	}
	c := candidate{key: key, create: resp.Kvs[0].CreateRevision}
	lease, _, shaped := keyspace.ParseEntry(strings.TrimPrefix(key, t.election.prefix))
	if !shaped {
		return c, nil
	}
	c.lease = lease
	record, err := k.KV().Get(ctx, keyspace.Session(k.Namespace, lease), clientv3.WithKeysOnly())
	if err != nil {
		return candidate{}, k.Explain(err, t.election.prefix)
	}
	c.ours = len(record.Kvs) == 1
	return c, nil
}

// renewed says whether the lease of a candidate that does not answer was renewed lately: every client does so at a third
// of its TTL.
func (t *Term) renewed(ctx context.Context, c candidate) error {
	if c.lease == clientv3.NoLease {
		return nil // nothing can be known of it
	}
	resp, err := t.election.keeper.Client.TimeToLive(ctx, c.lease)
	if err != nil {
		return t.election.keeper.Explain(err, t.election.prefix)
	}
	if 2*resp.TTL < resp.GrantedTTL {
		return fmt.Errorf("%w: its lease was not renewed for %d s of %d", ErrTransfer, resp.GrantedTTL-max(resp.TTL, 0), resp.GrantedTTL)
	}
	return nil
}

// missing says what is missing for c to lead next; nothing: "".
func (t *Term) missing(ctx context.Context, c candidate, mark string) (why string, err error) {
	client, prefix := t.election.keeper.Client, t.election.prefix
	resp, err := t.election.keeper.KV().Txn(ctx).Then(clientv3.OpGet(prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly()), clientv3.OpGet(mark)).Commit()
	if err != nil {
		return "", etcd.Explain(client, err, prefix)
	}
	var entries []queue.Entry
	stands := false
	for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
		entries = append(entries, queue.Entry{Key: string(kv.Key), Create: kv.CreateRevision})
		stands = stands || string(kv.Key) == c.key && kv.CreateRevision == c.create
	}
	if !stands {
		return "", errNoCandidate
	}
	if first, _ := next(prefix, entries, queue.Entry{Create: t.Token().Revision()}); first.Key != c.key {
		return fmt.Sprintf("%q is before it and has not made room", first.Key), nil
	}
	marks := resp.Responses[1].GetResponseRange().Kvs
	if c.ours && (len(marks) == 0 || string(marks[0].Value) != markAnswered) {
		return "it has not answered, as if it were stopped, cut off from etcd, or dead", nil
	}
	return "", nil
}

// recheck is how long a change is awaited before the line is read again: a watch that has ended tells of none.
const recheck = 500 * time.Millisecond

func (t *Term) await(ctx context.Context, changes clientv3.WatchChan) error {
	timer := time.NewTimer(recheck)
	defer timer.Stop()
	select {
	case _, ok := <-changes:
		if !ok {
			etcd.Sleep(ctx, etcd.Jitter(recheck))
		}
	case <-timer.C:
	case <-t.Context().Done():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// unmark takes the mark away again, as far as that is possible now. At the latest it goes with the entry.
// known says that it is not on its way any more.
func (t *Term) unmark(mark string, known bool) {
	k := t.election.keeper
	ours := clientv3.Compare(clientv3.LeaseValue(mark), "=", t.hold.Lease(0))
	k.Go(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, k.RequestTimeout())
		defer cancel()
		if _, err := k.KV().Txn(ctx).If(ours).Then(clientv3.OpDelete(mark)).Commit(); err != nil {
			k.Log.Debug("the name of the next leader was not taken back", "key", mark, "error", err)
		} else if known {
			t.hold.Forget(mark)
		}
	})
}
