package witness

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keyspace"
)

// Etcd is what client reaches.
func Etcd(client *clientv3.Client) Cluster { return cluster{client} }

type cluster struct{ client *clientv3.Client }

func (e cluster) Record(ctx context.Context, namespace string, lease clientv3.LeaseID) (string, clientv3.LeaseID, error) {
	resp, err := e.client.Get(ctx, keyspace.Session(namespace, lease))
	if err != nil || len(resp.Kvs) == 0 {
		return "", 0, err
	}
	return string(resp.Kvs[0].Value), clientv3.LeaseID(resp.Kvs[0].Lease), nil
}

func (e cluster) Revoke(ctx context.Context, lease clientv3.LeaseID) error {
	_, err := e.client.Revoke(ctx, lease)
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return nil
	}
	return err
}
