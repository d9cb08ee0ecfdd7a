package idle

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/fenceline/fenceline/bench/cost"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

const (
	atOnce       = 32               // calls of Acquire under way
	quiet        = 2 * time.Second  // without a watch, a read or a write: it has settled. Holds get their watch after 1 s
	settleWithin = 60 * time.Second // else it never will
	leaveTimeout = 10 * time.Second
)

// party is one session on one connection, whose traffic is counted.
type party struct {
	cfg     Config
	ttl     time.Duration
	meter   cost.Meter
	session *session.Session
	held    []*lock.Lock

	waiters sync.WaitGroup
	stop    context.CancelFunc // ends the waits; nil without any
}

func join(ctx context.Context, cfg Config, ttl time.Duration) (*party, error) {
	p := &party{cfg: cfg, ttl: ttl}
	config := cfg.Etcd
	config.DialOptions = append(slices.Clip(config.DialOptions), p.meter.DialOption())
	client, err := clientv3.New(config)
	if err != nil {
		return nil, err
	}
	p.session, err = session.Open(ctx, client, session.WithTTL(ttl), session.WithNamespace(cfg.Prefix))
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return p, nil
}

func (p *party) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	if p.stop != nil {
		p.stop()
	}
	err := p.session.Close(ctx)
	p.waiters.Wait()
	return errors.Join(err, p.session.Client().Close())
}

func (p *party) mutex(i int) *lock.Mutex { return lock.New(p.session, fmt.Sprintf("idle-%d", i)) }

// hold takes all locks and keeps them.
func (p *party) hold(ctx context.Context) error {
	p.held = make([]*lock.Lock, p.cfg.Locks)
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i := range p.held {
		group.Go(func() (err error) {
			p.held[i], err = p.mutex(i).Acquire(ctx)
			return err
		})
	}
	return group.Wait()
}

// wait queues for all locks, which another party has, and returns at once.
func (p *party) wait(ctx context.Context) error {
	ctx, p.stop = context.WithCancel(ctx)
	for i := range p.cfg.Locks {
		p.waiters.Go(func() {
			if l, err := p.mutex(i).Acquire(ctx); err == nil {
				_ = l.Release(ctx) // the holder lost its lease; the measurement will show that
			}
		})
	}
	return nil
}

// idle says what it takes to have done begin: memory and goroutines, and the traffic once all is quiet.
func (p *party) idle(ctx context.Context, begin func(context.Context) error) (Idle, error) {
	before := measureFootprint()
	if err := begin(ctx); err != nil {
		return Idle{}, err
	}
	if err := p.settle(ctx); err != nil {
		return Idle{}, err
	}
	after := measureFootprint()
	n := float64(p.cfg.Locks)
	i := Idle{
		Heap:       (after.heap - before.heap) / n,
		Stack:      (after.stack - before.stack) / n,
		Goroutines: (after.goroutines - before.goroutines) / n,
		Window:     time.Duration(p.cfg.Windows) * p.ttl,
		Expected:   3 * float64(p.cfg.Windows),
	}
	counted := p.meter.Count()
	sleep(ctx, i.Window)
	i.Traffic = p.meter.Count().Sub(counted)
	return i, ctx.Err()
}

// settle waits until nothing but renewals has gone out for a while.
func (p *party) settle(ctx context.Context) error {
	last, since := int64(-1), time.Now()
	for deadline := time.Now().Add(settleWithin); time.Since(since) < quiet; sleep(ctx, 50*time.Millisecond) {
		c := p.meter.Count()
		if n := c.Requests() - c.Renewals; n != last {
			last, since = n, time.Now()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("still busy after %v: %+v", settleWithin, c)
		}
	}
	return nil
}

// footprint is what this process uses.
type footprint struct{ heap, stack, goroutines float64 }

// measureFootprint collects twice: pools and finalizers let go only the second time.
func measureFootprint() footprint {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return footprint{float64(m.HeapAlloc), float64(m.StackInuse), float64(runtime.NumGoroutine())}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
