package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/bench"
)

// sightings are when watchers saw an address come and go.
type sightings struct {
	mu      sync.Mutex
	waiting map[string]chan time.Time // "+addr" and "-addr"
}

func (s *sightings) expect(change string, n int) <-chan time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := make(chan time.Time, n)
	s.waiting[change] = ch
	return ch
}

func (s *sightings) saw(change string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ch := s.waiting[change]; ch != nil {
		ch <- at
	}
}

// crowd is watchers of one service.
type crowd struct {
	sightings
	cancel   context.CancelFunc
	watchers sync.WaitGroup
	clients  []*clientv3.Client
	failed   chan error
}

// gather has n watchers see the service.
func (r *runner) gather(ctx context.Context, s *subject, prefix, service string, n int) (*crowd, error) {
	ctx, cancel := context.WithCancel(ctx)
	c := &crowd{sightings: sightings{waiting: map[string]chan time.Time{}}, cancel: cancel, failed: make(chan error, n)}
	ready := make(chan struct{}, n)
	for range n {
		client, err := clientv3.New(r.Etcd)
		if err != nil {
			return c, err
		}
		c.clients = append(c.clients, client)
		c.watchers.Go(func() {
			var last map[string]bool
			err := s.watch(ctx, client, prefix, service, func(addrs map[string]bool) {
				now := time.Now()
				if last == nil {
					ready <- struct{}{}
				}
				for addr := range addrs {
					if !last[addr] {
						c.saw("+"+addr, now)
					}
				}
				for addr := range last {
					if !addrs[addr] {
						c.saw("-"+addr, now)
					}
				}
				last = addrs
			})
			if err != nil {
				c.failed <- err
			}
		})
	}
	for range n {
		select {
		case <-ready:
		case err := <-c.failed:
			return c, err
		case <-ctx.Done():
			return c, context.Cause(ctx)
		}
	}
	return c, nil
}

func (c *crowd) disperse() {
	c.cancel()
	c.watchers.Wait()
	for _, client := range c.clients {
		client.Close()
	}
}

// collect waits until n have seen it, and returns how long that took from began.
func (c *crowd) collect(ctx context.Context, seen <-chan time.Time, n int, began time.Time) ([]time.Duration, error) {
	late := time.NewTimer(seenTimeout)
	defer late.Stop()
	var times []time.Duration
	for range n {
		select {
		case at := <-seen:
			times = append(times, at.Sub(began))
		case err := <-c.failed:
			return times, err
		case <-late.C:
			return times, fmt.Errorf("bench: only %d of %d watchers saw a change within %v", len(times), n, seenTimeout)
		case <-ctx.Done():
			return times, context.Cause(ctx)
		}
	}
	return times, nil
}

// spread measures how fast a registration, and its end, are seen by all watchers.
func (r *runner) spread(ctx context.Context, name string) (err error) {
	r.Say(fmt.Sprintf("%s: %d registrations, seen by %d watchers", name, r.Times, r.Watchers))
	s, prefix := registries[name], r.place()
	c, err := r.gather(ctx, s, prefix, "web", r.Watchers)
	defer c.disperse()
	if err != nil {
		return err
	}
	p, err := s.process(ctx, r.client, prefix, 60*time.Second)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closing(ctx, p)) }()
	var seen, gone []time.Duration
	for i := range r.Times {
		addr := fmt.Sprintf("10.0.%d.%d:80", i/200, i%200+1)
		for _, step := range []struct {
			sign  string
			do    func(context.Context, string, string) error
			times *[]time.Duration
		}{{"+", p.register, &seen}, {"-", p.deregister, &gone}} {
			sighted := c.expect(step.sign+addr, r.Watchers)
			began := time.Now()
			if err := step.do(ctx, "web", addr); err != nil {
				return err
			}
			times, err := c.collect(ctx, sighted, r.Watchers, began)
			if err != nil {
				return err
			}
			*step.times = append(*step.times, times...)
		}
	}
	r.add(bench.Times(Seen, name, seen), bench.Times(Gone, name, gone))
	return nil
}

func closing(ctx context.Context, p process) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	return p.close(ctx)
}
