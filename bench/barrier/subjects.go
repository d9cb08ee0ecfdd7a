package barrier

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	recipe "go.etcd.io/etcd/client/v3/experimental/recipes"

	"github.com/fenceline/fenceline/barrier"
	"github.com/fenceline/fenceline/session"
)

// ttl is long enough for nobody to lose anything on a busy machine.
const ttl = 60 * time.Second

// party is one that takes part in all rounds of a turn.
type party interface {
	enter(ctx context.Context) error
	leave(ctx context.Context) error
	close(ctx context.Context) error
	lease() clientv3.LeaseID
}

// subjects make a party of so many, on a connection of its own.
var subjects = map[string]func(ctx context.Context, client *clientv3.Client, prefix string, parties int) (party, error){
	"fenceline": func(ctx context.Context, client *clientv3.Client, prefix string, parties int) (party, error) {
		s, err := session.Open(ctx, client, session.WithNamespace(prefix), session.WithTTL(ttl))
		if err != nil {
			return nil, err
		}
		return &ours{session: s, barrier: barrier.New(s, "round", parties)}, nil
	},
	"etcd": func(ctx context.Context, client *clientv3.Client, prefix string, parties int) (party, error) {
		lease, err := client.Grant(ctx, int64(ttl.Seconds())) // within ctx, which the session's own would outlive
		if err != nil {
			return nil, err
		}
		s, err := concurrency.NewSession(client, concurrency.WithLease(lease.ID))
		if err != nil {
			return nil, err
		}
		return &theirs{session: s, barrier: recipe.NewDoubleBarrier(s, prefix+"etcd", parties)}, nil
	},
}

type ours struct {
	session *session.Session
	barrier *barrier.Barrier
	pass    *barrier.Pass
}

func (p *ours) enter(ctx context.Context) (err error) {
	p.pass, err = p.barrier.Enter(ctx)
	return err
}

func (p *ours) leave(ctx context.Context) error { return p.pass.Leave(ctx) }
func (p *ours) close(ctx context.Context) error { return p.session.Close(ctx) }
func (p *ours) lease() clientv3.LeaseID         { return p.session.Lease() }

type theirs struct {
	session *concurrency.Session
	barrier *recipe.DoubleBarrier
}

func (p *theirs) enter(context.Context) error { return p.barrier.Enter() }
func (p *theirs) leave(context.Context) error { return p.barrier.Leave() }

func (p *theirs) close(context.Context) error { return p.session.Close() }
func (p *theirs) lease() clientv3.LeaseID     { return p.session.Lease() }
