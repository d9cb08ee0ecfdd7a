package barrier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/fenceline/fenceline/bench/cost"
)

const (
	reachTimeout = 5 * time.Second
	joinTimeout  = 30 * time.Second
	roundTimeout = 30 * time.Second // of a barrier that works, on any machine
	leaveTimeout = 10 * time.Second
	joinsAtOnce  = 16

	// Rounds in which one party comes late, before those that are measured: who does not hold back is found out.
	lateRounds = 3
	lateBy     = 50 * time.Millisecond
)

// turn is some rounds of one subject, by parties that connect for them.
func (c Config) turn(ctx context.Context, control *clientv3.Client, row *Row, prefix string, rounds int) (err error) {
	t := &turn{subject: row.Subject, parties: make([]party, row.Parties), clients: make([]*clientv3.Client, row.Parties)}
	defer func() { err = errors.Join(err, t.close(ctx, control)) }()
	if err := t.join(ctx, c.Etcd, prefix); err != nil {
		return err
	}
	for i := range lateRounds {
		if _, _, err := t.round(ctx, i%row.Parties); err != nil {
			return err
		}
	}
	before := t.meter.Count()
	for range rounds {
		enter, leave, err := t.round(ctx, nobody)
		if err != nil {
			return err
		}
		row.Enter.add(enter)
		row.Leave.add(leave)
		row.Both.add(enter + leave)
	}
	row.Rounds += rounds
	row.Cost = row.Cost.Add(t.meter.Count().Sub(before))
	return nil
}

type turn struct {
	subject string
	meter   cost.Meter
	clients []*clientv3.Client
	parties []party
	cut     atomic.Bool // the connections were taken away
}

// join connects all parties. After an error what has joined is still to be closed.
func (t *turn) join(ctx context.Context, etcd clientv3.Config, prefix string) error {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	etcd.DialOptions = append(slices.Clip(etcd.DialOptions), t.meter.DialOption())
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(joinsAtOnce)
	for i := range t.parties {
		group.Go(func() (err error) {
			if t.clients[i], err = clientv3.New(etcd); err != nil {
				return err
			}
			if t.parties[i], err = subjects[t.subject](ctx, t.clients[i], prefix, len(t.parties)); err != nil {
				return fmt.Errorf("bench: %s cannot join: %w", t.subject, err)
			}
			return nil
		})
	}
	return group.Wait()
}

const nobody = -1

// round lets all parties enter and, when the last is through, all leave. late is one that comes after the others.
func (t *turn) round(ctx context.Context, late int) (enter, leave time.Duration, err error) {
	var came, early atomic.Int64
	enter, err = t.all(ctx, func(ctx context.Context, i int) error {
		if i == late {
			sleep(ctx, lateBy)
		}
		came.Add(1)
		err := t.parties[i].enter(ctx)
		if err == nil && ctx.Err() == nil && came.Load() < int64(len(t.parties)) {
			early.Add(1)
		}
		return err
	})
	if n := early.Load(); n > 0 {
		return 0, 0, &SafetyError{t.subject, len(t.parties), n}
	}
	if err != nil {
		return 0, 0, fmt.Errorf("bench: %s with %d parties: enter: %w", t.subject, len(t.parties), err)
	}
	leave, err = t.all(ctx, func(ctx context.Context, i int) error { return t.parties[i].leave(ctx) })
	if err != nil {
		return 0, 0, fmt.Errorf("bench: %s with %d parties: leave: %w", t.subject, len(t.parties), err)
	}
	return enter, leave, nil
}

// all has every party do something at the same time, and answers how long the last one took. etcd's recipe heeds no
// ctx: when that ends, the connections are taken away.
func (t *turn) all(ctx context.Context, do func(ctx context.Context, i int) error) (time.Duration, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, roundTimeout, fmt.Errorf("not everybody was done within %v", roundTimeout))
	defer cancel()
	ctx, fail := context.WithCancelCause(ctx)
	stop := context.AfterFunc(ctx, t.disconnect)
	began := time.Now()
	var parties sync.WaitGroup
	for i := range t.parties {
		parties.Go(func() {
			if err := do(ctx, i); err != nil {
				fail(err) // and nobody waits for this one for ever
			}
		})
	}
	parties.Wait()
	took := time.Since(began)
	err := context.Cause(ctx) // the first
	stop()
	fail(nil)
	return took, err
}

func (t *turn) disconnect() {
	t.cut.Store(true)
	for _, client := range t.clients {
		_ = client.Close() // to end what waits on it; nothing else is wanted of it
	}
}

// close closes all parties that joined, and their connections. Leases of those that have none any more are revoked
// through another.
func (t *turn) close(ctx context.Context, control *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	var group errgroup.Group
	group.SetLimit(joinsAtOnce)
	for i, client := range t.clients {
		group.Go(func() (err error) {
			if p := t.parties[i]; p != nil {
				lease := p.lease()
				if err = p.close(ctx); t.cut.Load() {
					_, err = control.Revoke(ctx, lease)
				}
				if errors.Is(err, rpctypes.ErrLeaseNotFound) {
					err = nil
				}
			}
			if client != nil {
				_ = client.Close() // it may be closed already
			}
			return err
		})
	}
	return group.Wait()
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
