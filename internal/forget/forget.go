// Package forget deletes what a primitive keeps in etcd without a lease.
package forget

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// Thing is what is to be forgotten.
type Thing struct {
	Namespace  string
	Kind, Name string
	Busy       string // below the thing's prefix; if a key stands there, somebody uses it. Empty: nobody can be seen to
	InUse      error  // then
	Unknown    error  // there is nothing to forget
}

// Do deletes all keys of the thing in one transaction, if nobody uses it. ctx bounds it, or 5 s when ctx has no deadline.
func Do(ctx context.Context, client *clientv3.Client, t Thing) error {
	if client == nil {
		return errors.New("the client is nil")
	}
	if t.Namespace == "" || len(t.Namespace) > keyspace.MaxName || !utf8.ValidString(t.Namespace) {
		return fmt.Errorf("namespace %q: want 1 to %d bytes of UTF-8", t.Namespace, keyspace.MaxName)
	}
	if err := keyspace.CheckName(t.Kind, t.Name); err != nil {
		return err
	}
	ctx, cancel := etcd.Bounded(ctx)
	defer cancel()
	prefix := keyspace.Line(t.Namespace, t.Kind, t.Name)
	txn := client.Txn(ctx)
	if t.Busy != "" {
		txn = txn.If(clientv3.Compare(clientv3.CreateRevision(prefix+t.Busy).WithPrefix(), "=", 0))
	}
	resp, err := txn.Then(clientv3.OpDelete(prefix, clientv3.WithPrefix())).Commit()
	switch {
	case err != nil:
		return etcd.Explain(client, err, prefix)
	case !resp.Succeeded:
		return t.InUse
	case resp.Responses[0].GetResponseDeleteRange().Deleted == 0:
		return t.Unknown
	}
	return nil
}
