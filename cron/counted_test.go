package cron

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// countedKV counts transactions.
type countedKV struct {
	clientv3.KV
	n *int
}

func (kv countedKV) Txn(ctx context.Context) clientv3.Txn {
	*kv.n++
	return kv.KV.Txn(ctx)
}
