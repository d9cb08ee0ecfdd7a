package etcd

import (
	"errors"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Usable says why a client cannot be used, and what there is instead of a namespace of the client's.
func Usable(client *clientv3.Client, instead string) error {
	if client == nil {
		return errors.New("the client is nil")
	}
	if client.ActiveConnection() == nil {
		return errors.New("the client has no connection: make it with clientv3.New")
	}
	for _, part := range []any{client.KV, client.Lease, client.Watcher} {
		if strings.HasSuffix(fmt.Sprintf("%T", part), "Prefix") { // some of our requests go past these
			return fmt.Errorf("the client is wrapped by clientv3/namespace (%T): use a plain client and %s", part, instead)
		}
	}
	return nil
}

// Closed says that the client was closed. A request by it would not fail: etcd's client takes a closed connection for one to try again.
func Closed(client *clientv3.Client) bool { return client.Ctx().Err() != nil }
