package election

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/internal/line"
	"github.com/fenceline/fenceline/internal/mirror"
)

// TransferTo resigns in favour of a candidate that waits, by its key (Candidates tells). Those before it step aside
// first, while this term goes on: then nobody leads in between. If that candidate is gone, the next one leads.
//
// ErrTransfer, and the term goes on: the key is not one of this election, or somebody who is before the candidate has
// not made room before ctx ended, or within 5 s if it has no deadline; those of etcd's own package never do. A term that
// has ended is an error as of Resign. When ctx ends after the others have made room, the term has ended, though that is
// not confirmed yet: its Context tells.
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
	case key == t.hold.Key():
		return fmt.Errorf("%w: it leads already", ErrTransfer)
	}
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, mirror.Patience)
		defer cancel()
	}
	select { // one at a time
	case t.transfer <- struct{}{}:
		defer func() { <-t.transfer }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	mark := keyspace.Transfer(prefix, key)
	if t.all.Along(mark) { // it goes when we do, however that is
		if err := t.makeRoom(ctx, key, mark); err != nil && !errors.Is(err, errNobodyWaits) {
			t.unmark(mark)
			return err
		}
	}
	return t.all.Release(ctx)
}

// errNobodyWaits: nobody has to make room, since that candidate is gone, or this term is.
var errNobodyWaits = errors.New("nobody has to make room")

// makeRoom names the candidate and waits until nobody is before it.
func (t *Term) makeRoom(ctx context.Context, key, mark string) error {
	client, prefix := t.election.keeper.Client, t.election.prefix
	watched, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	changes := client.Watch(watched, prefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify(), clientv3.WithFilterPut())
	candidate := clientv3.Compare(clientv3.CreateRevision(key), ">", 0)
	resp, err := client.Txn(ctx).If(append(t.hold.Guard(), candidate)...).Then(clientv3.OpPut(mark, "", clientv3.WithLease(t.hold.Lease()))).Commit()
	if err != nil {
		return keeper.Explain(client, err, prefix)
	}
	if !resp.Succeeded {
		return errNobodyWaits
	}
	for {
		before, err := t.before(ctx, key, resp.Header.Revision)
		switch {
		case err != nil:
			return err
		case before == "":
			return nil
		}
		if err := t.await(ctx, changes); err != nil {
			return fmt.Errorf("%w: %q is before it and has not made room: %w", ErrTransfer, before, err)
		}
		if t.Context().Err() != nil {
			return errNobodyWaits
		}
	}
}

// before is the key of one who would lead before key, if there is one. marked is when key was named.
func (t *Term) before(ctx context.Context, key string, marked int64) (string, error) {
	client, prefix := t.election.keeper.Client, t.election.prefix
	resp, err := client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return "", keeper.Explain(client, err, prefix)
	}
	var entries []line.Entry
	stands := false
	for _, kv := range resp.Kvs {
		entries = append(entries, line.Entry{Key: string(kv.Key), Create: kv.CreateRevision})
		stands = stands || string(kv.Key) == key && kv.CreateRevision < marked
	}
	if !stands {
		return "", errNobodyWaits
	}
	first, _ := next(prefix, entries, line.Entry{Create: int64(t.Token())})
	if first.Key == key {
		return "", nil
	}
	return first.Key, nil
}

// recheck is how long a change is awaited before the line is read again: a watch that has ended tells of none.
const recheck = 500 * time.Millisecond

func (t *Term) await(ctx context.Context, changes clientv3.WatchChan) error {
	timer := time.NewTimer(recheck)
	defer timer.Stop()
	select {
	case _, ok := <-changes:
		if !ok {
			mirror.Sleep(ctx, recheck)
		}
	case <-timer.C:
	case <-t.Context().Done():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// unmark takes the mark away again, as far as that is possible now. At the latest it goes with the entry.
func (t *Term) unmark(mark string) {
	k := t.election.keeper
	ours := clientv3.Compare(clientv3.LeaseValue(mark), "=", t.hold.Lease())
	k.Go(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, k.RequestTimeout())
		defer cancel()
		if _, err := k.Client.Txn(ctx).If(ours).Then(clientv3.OpDelete(mark)).Commit(); err != nil {
			k.Log.Debug("the name of the next leader was not taken back", "key", mark, "error", err)
		}
	})
}
