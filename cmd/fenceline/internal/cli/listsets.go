package cli

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keyspace"
)

// together says of the entries of a set that they wait as long as one of them does: who holds some of its locks and
// waits for the rest does not run. Entries of one revision came in one transaction.
func together(lines []*line) {
	waits := map[int64]bool{}
	for _, l := range lines {
		for _, e := range l.Entries {
			if l.Kind == lockKind && e.State == stateWaits {
				waits[e.Revision] = true
			}
		}
	}
	for _, l := range lines {
		for i := range l.Entries {
			if e := &l.Entries[i]; l.Kind == lockKind && waits[e.Revision] {
				e.State = stateWaits
			}
		}
	}
}

// askElsewhere does for one line that was asked for what together does for all: whether its first one waits in another.
func (f *lsFlags) askElsewhere(ctx context.Context, client *clientv3.Client, found *listing) error {
	if f.kind != lockKind || f.name == "" || len(found.Lines) == 0 {
		return nil
	}
	e, at := &found.Lines[0].Entries[0], clientv3.WithRev(found.Revision)
	set, err := client.Get(ctx, f.namespace+lockKind+"/", clientv3.WithPrefix(), clientv3.WithKeysOnly(), at,
		clientv3.WithMinCreateRev(e.Revision), clientv3.WithMaxCreateRev(e.Revision))
	if err != nil {
		return err
	}
	for _, kv := range set.Kvs {
		_, name, _ := f.place(string(kv.Key))
		ahead, err := client.Get(ctx, keyspace.Line(f.namespace, lockKind, name), clientv3.WithPrefix(), clientv3.WithKeysOnly(), at,
			clientv3.WithMaxCreateRev(e.Revision-1))
		if err != nil {
			return err
		}
		if len(ahead.Kvs) > 0 {
			e.State, e.waitsFor = stateWaits, name
			return nil
		}
	}
	return nil
}
