package keeper

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/meter"
)

// counted are leases of which each request is counted.
type counted struct {
	leases
	meter *meter.Meter
}

func countedLeases(m *meter.Meter, l leases) leases {
	if m == nil {
		return l
	}
	return counted{l, m}
}

func count(m *meter.Meter, op string, err error) {
	code := etcd.Code(err)
	if err == ErrRevoked {
		code = codes.NotFound
	}
	m.Requested(op, code)
}

func (k *Keeper) count(op string, err error) { count(k.Meter, op, err) }

func (c counted) Grant(ctx context.Context, id clientv3.LeaseID, ttl time.Duration) (time.Duration, error) {
	granted, err := c.leases.Grant(ctx, id, ttl)
	count(c.meter, "grant", err)
	return granted, err
}

func (c counted) Renew(ctx context.Context, id clientv3.LeaseID) (renewal, error) {
	r, err := c.leases.Renew(ctx, id)
	count(c.meter, "renew", err)
	return r, err
}

func (c counted) Revoke(ctx context.Context, id clientv3.LeaseID) error {
	err := c.leases.Revoke(ctx, id)
	count(c.meter, "revoke", err)
	return err
}

func (c counted) Record(ctx context.Context, id clientv3.LeaseID, key, value string) (point, error) {
	p, err := c.leases.Record(ctx, id, key, value)
	count(c.meter, "put", err)
	return p, err
}

func (c counted) Revision(ctx context.Context, key string) (point, error) {
	p, err := c.leases.Revision(ctx, key)
	count(c.meter, "get", err)
	return p, err
}
