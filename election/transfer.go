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
)

// TransferTo resigns in favour of a candidate that waits, by its key (Candidates tells). Those before it step aside
// first, while this term goes on: then nobody leads in between. If that candidate is gone, the next one leads.
//
// ErrTransfer, and the term goes on: the key is not one of this election, or somebody who is before the candidate does
// not step aside, as those of etcd's own package do not. When ctx ends before the others have made room, or after 5 s
// if it has no deadline, the term goes on, too.
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
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	mark := keyspace.Transfer(prefix, key)
	err := t.makeRoom(ctx, key, mark)
	if err != nil && !errors.Is(err, errCandidateGone) {
		t.unmark(mark)
		return err
	}
	return t.all.ReleaseAnd(ctx, clientv3.OpDelete(mark))
}

// errCandidateGone: nobody has to make room.
var errCandidateGone = errors.New("that candidate is gone")

// makeRoom names the candidate, under our lease and only while we lead, and waits until nobody is before it.
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
	if !resp.Succeeded { // if it is we who are gone, Release says so
		return errCandidateGone
	}
	for {
		before, err := t.before(ctx, key)
		switch {
		case err != nil:
			return err
		case before == "":
			return nil
		}
		if err := await(ctx, changes); err != nil {
			return fmt.Errorf("%w: %q is before it and has not made room: %w", ErrTransfer, before, err)
		}
	}
}

// before is the key of one who would lead before key, if there is one.
func (t *Term) before(ctx context.Context, key string) (string, error) {
	client, prefix := t.election.keeper.Client, t.election.prefix
	resp, err := client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return "", keeper.Explain(client, err, prefix)
	}
	var entries []line.Entry
	stands := false
	for _, kv := range resp.Kvs {
		entries = append(entries, line.Entry{Key: string(kv.Key), Create: kv.CreateRevision})
		stands = stands || string(kv.Key) == key
	}
	if !stands {
		return "", errCandidateGone
	}
	first, _ := next(prefix, entries, line.Entry{Create: int64(t.Token())})
	if first.Key == key {
		return "", nil
	}
	return first.Key, nil
}

// recheck is how long a change is awaited before the line is read again: a watch that has ended tells of none.
const recheck = 500 * time.Millisecond

func await(ctx context.Context, changes clientv3.WatchChan) error {
	t := time.NewTimer(recheck)
	defer t.Stop()
	select {
	case _, ok := <-changes:
		if ok {
			return nil
		}
		<-t.C
		return nil
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// unmark takes the mark away again: else those who come later would wait for it. If it cannot, the mark goes with the
// lease.
func (t *Term) unmark(mark string) {
	ctx, cancel := context.WithTimeout(context.Background(), t.election.keeper.RequestTimeout())
	defer cancel()
	if _, err := t.election.keeper.Client.Delete(ctx, mark); err != nil {
		t.election.keeper.Log.Warn("the name of the next leader was not taken back", "key", mark, "error", err)
	}
}
