package elect

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/fenceline/fenceline/bench"
)

const (
	reachTimeout = 5 * time.Second
	cleanTimeout = 10 * time.Second
	// calmTTL is for elections in which nobody dies.
	calmTTL = 15 * time.Second
	// lateAfter is by how much a take-over after a kill may be longer than the TTL.
	lateAfter = time.Second
)

// runner is one call of Run.
type runner struct {
	Config
	client  *clientv3.Client
	prefix  string
	parties int
	result  *Result
}

func (r *runner) run(ctx context.Context) error {
	r.prefix = r.Prefix + strings.ToLower(rand.Text()[:10]) + "/"
	bounded, cancel := context.WithTimeout(ctx, reachTimeout)
	_, err := r.client.Get(bounded, r.prefix, clientv3.WithCountOnly())
	cancel()
	if err != nil {
		return fmt.Errorf("%w at %s: %w", bench.ErrUnreachable, strings.Join(r.Etcd.Endpoints, ", "), err)
	}
	if r.Resigns > 0 {
		r.Talk(fmt.Sprintf("%d take-overs after Resign", r.Resigns))
		if err := r.measure(ctx, Resign, calmTTL, r.resigns); err != nil {
			return err
		}
	}
	for _, ttl := range r.TTLs {
		if r.Kills > 0 {
			r.Talk(fmt.Sprintf("TTL %v: %d leaders killed", ttl, r.Kills))
			if err := r.measure(ctx, Kill, ttl, r.kills); err != nil {
				return err
			}
		}
		if r.EtcdKills > 0 {
			r.Talk(fmt.Sprintf("TTL %v: %d leaders killed, and etcd's", ttl, r.EtcdKills))
			if err := r.measure(ctx, KillAndEtcd, ttl, r.etcdKills); err != nil {
				return err
			}
		}
	}
	return nil
}

// measure lets how work on a party for each subject, and keeps the rows also if it fails on the way.
func (r *runner) measure(ctx context.Context, end string, ttl time.Duration, how func(context.Context, []*party, []Row) error) (err error) {
	var parties []*party
	defer func() {
		for _, p := range parties {
			p.dissolve()
		}
	}()
	rows := make([]Row, len(r.Subjects))
	for i, subject := range r.Subjects {
		p, err := r.form(ctx, subject, ttl)
		if err != nil {
			return err
		}
		parties = append(parties, p)
		rows[i] = Row{End: end, Subject: subject, TTL: ttl}
	}
	err = how(ctx, parties, rows)
	for i, p := range parties {
		rows[i].Unasked = p.unasked
		if len(rows[i].All) > 0 {
			r.result.Rows = append(r.result.Rows, rows[i])
		}
	}
	return err
}

// resigns alternates between the subjects, in the opposite order each time, with a put after each take-over.
func (r *runner) resigns(ctx context.Context, parties []*party, rows []Row) error {
	r.result.Put = &Times{}
	order := make([]int, len(parties))
	for i := range order {
		order[i] = i
	}
	for range r.Resigns {
		for _, i := range order {
			if err := r.resignOnce(ctx, parties[i], &rows[i]); err != nil {
				return err
			}
			began := time.Now()
			if _, err := r.client.Put(ctx, r.prefix+"put", value); err != nil {
				return fmt.Errorf("bench: put: %w", err)
			}
			r.result.Put.add(time.Since(began))
		}
		slices.Reverse(order)
	}
	return nil
}

func (r *runner) resignOnce(ctx context.Context, p *party, row *Row) error {
	for {
		if err := p.settle(ctx); err != nil {
			return err
		}
		took, err := p.resign(ctx)
		if errors.Is(err, errUnasked) {
			continue
		}
		if err == nil {
			row.add(took)
		}
		return err
	}
}

// kills goes on with all subjects side by side: they wait for leases, and nobody loads etcd.
func (r *runner) kills(ctx context.Context, parties []*party, rows []Row) error {
	all, ctx := errgroup.WithContext(ctx)
	for i, p := range parties {
		all.Go(func() error {
			for len(rows[i].All) < r.Kills {
				if err := p.settle(ctx); err != nil {
					return err
				}
				if err := sleep(ctx, mathrand.N(p.spec.TTL/3)); err != nil {
					return err
				}
				old, at := p.kill()
				took, err := p.succeed(ctx, old, at)
				if errors.Is(err, errUnasked) {
					continue
				}
				if err != nil {
					return err
				}
				rows[i].addKill(took)
			}
			return nil
		})
	}
	return all.Wait()
}

func (r *Row) addKill(took time.Duration) {
	r.add(took)
	if took > r.TTL+lateAfter {
		r.Late++
	}
}

// etcdKills kills the leaders of all subjects, half a TTL later etcd's, and looks at their leases before and after.
func (r *runner) etcdKills(ctx context.Context, parties []*party, rows []Row) error {
	for i := range rows {
		rows[i].Reset = new(int)
	}
	for range r.EtcdKills {
		if err := r.etcdKill(ctx, parties, rows); err != nil {
			return err
		}
	}
	return nil
}

func (r *runner) etcdKill(ctx context.Context, parties []*party, rows []Row) error {
	type victim struct {
		old   *candidate
		at    time.Time
		lease clientv3.LeaseID
		left  int64 // seconds, before etcd's leader was killed
	}
	victims := make([]victim, len(parties))
	for _, p := range parties {
		if err := p.settle(ctx); err != nil {
			return err
		}
	}
	for i, p := range parties {
		head, err := r.client.Get(ctx, p.line(), clientv3.WithFirstCreate()...)
		if err != nil || len(head.Kvs) == 0 {
			return fmt.Errorf("bench: %s: look for the leader: %v, %w", p.spec.Subject, head, err)
		}
		victims[i].lease = clientv3.LeaseID(head.Kvs[0].Lease)
		victims[i].old, victims[i].at = p.kill()
	}
	if err := sleep(ctx, parties[0].spec.TTL/2); err != nil {
		return err
	}
	var err error
	for i := range victims {
		if victims[i].left, err = r.left(ctx, victims[i].lease); err != nil {
			return err
		}
	}
	if err := r.Cluster.KillLeader(ctx); err != nil {
		return err
	}
	var all errgroup.Group
	for i, p := range parties {
		v := victims[i]
		all.Go(func() error {
			left, err := r.left(ctx, v.lease)
			if err != nil {
				return err
			}
			if left > v.left {
				*rows[i].Reset++
			}
			took, err := p.succeed(ctx, v.old, v.at)
			if err != nil && !errors.Is(err, errUnasked) {
				return err
			}
			if err == nil {
				rows[i].addKill(took)
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	return r.Cluster.Restore(ctx)
}

// left is how many seconds etcd's leader gives the lease, -1 if it has ended. It asks until there is a leader.
func (r *runner) left(ctx context.Context, lease clientv3.LeaseID) (int64, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, settleWithin, fmt.Errorf("bench: etcd does not say what is left of a lease within %v", settleWithin))
	defer cancel()
	for {
		attempt, done := context.WithTimeout(ctx, 500*time.Millisecond)
		resp, err := r.client.TimeToLive(attempt, lease)
		done()
		if err == nil {
			return resp.TTL, nil
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// clean takes away what was written, also after a run that was interrupted.
func (r *runner) clean(ctx context.Context) error {
	defer r.client.Close()
	if r.prefix == "" || r.parties == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	if _, err := r.client.Delete(ctx, r.prefix, clientv3.WithPrefix()); err != nil {
		return fmt.Errorf("bench: delete %s*: %w", r.prefix, err)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
