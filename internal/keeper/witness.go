package keeper

import (
	"context"
	"errors"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/internal/witness"
)

func (k *Keeper) witnessed(leases []*leasehold, ttl time.Duration) {
	if k.Witness == nil {
		return
	}
	for _, l := range leases {
		k.Witness.Add(keyspace.Lease(l.id), ttl)
	}
}

func (k *Keeper) unwitnessed(leases []*leasehold) {
	if k.Witness == nil {
		return
	}
	for _, l := range leases {
		k.Witness.Remove(keyspace.Lease(l.id))
	}
}

// recordOf is the session's record under one of its leases. A copy, under a further lease, says of which it is. Where there is a witness, it says who may have the
// lease revoked.
func (k *Keeper) recordOf(e *Epoch, lease clientv3.LeaseID) string {
	text, ok := strings.CutSuffix(k.Config.Record, "}")
	if !ok {
		return text
	}
	if lease != e.id {
		text += `,"of":"` + keyspace.Lease(e.id) + `"`
	}
	if k.Witness != nil && !k.orphaned.Load() {
		text += `,"witness":"` + witness.Hash(k.Secret) + `"`
	}
	return text + "}"
}

// disown keeps the witness from revoking leases that another session goes on under: by the page, at once and for good, and by the records.
func (k *Keeper) disown(ctx context.Context) error {
	w, ok := k.Witness.(interface{ Page() *witness.Page })
	if !ok {
		return nil
	}
	if err := w.Page().Children(witness.HandedOn); err != nil {
		return err
	}
	k.orphaned.Store(true)
	e := k.Current()
	if e == nil {
		return nil
	}
	return onEach(e.leases(), func(l *leasehold) error {
		_, err := k.leases.Record(ctx, l.id, l.record, k.recordOf(e, l.id))
		return err
	})
}

var errWitnessed = errors.New("a witness watches it, and gives it back when its process is dead")
