package registry

import (
	"context"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
)

// theirCopy is what one makes of etcd's package to have all services in memory: a watch of each, and a map.
type theirCopy struct {
	cancel context.CancelFunc
	loops  sync.WaitGroup

	mu       sync.RWMutex
	services map[string]map[string]endpoints.Endpoint
}

func copyTheirs(ctx context.Context, client *clientv3.Client, prefix string, services []string) (directory, error) {
	following, cancel := context.WithCancel(context.Background())
	c := &theirCopy{cancel: cancel, services: map[string]map[string]endpoints.Endpoint{}}
	var loaded sync.WaitGroup
	for _, service := range services {
		m, err := endpoints.NewManager(client, target(prefix, service))
		if err != nil {
			return c, err
		}
		updates, err := m.NewWatchChannel(following)
		if err != nil {
			return c, err
		}
		c.services[service] = map[string]endpoints.Endpoint{}
		loaded.Add(1)
		c.loops.Go(func() { c.follow(service, updates, sync.OnceFunc(loaded.Done)) })
	}
	done := make(chan struct{})
	go func() { loaded.Wait(); close(done) }()
	select {
	case <-done:
		return c, nil
	case <-ctx.Done():
		return c, context.Cause(ctx)
	}
}

func (c *theirCopy) follow(service string, updates endpoints.WatchChannel, loaded func()) {
	defer loaded()
	for more := range updates {
		c.mu.Lock()
		for _, u := range more {
			if u.Op == endpoints.Add {
				c.services[service][u.Key] = u.Endpoint
			} else {
				delete(c.services[service], u.Key)
			}
		}
		c.mu.Unlock()
		loaded()
	}
}

// read copies the list, as whoever reads from a map that changes must.
func (c *theirCopy) read(_ context.Context, service, addr string) (n int, has bool, err error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	list := make([]endpoints.Endpoint, 0, len(c.services[service]))
	for _, e := range c.services[service] {
		list = append(list, e)
		has = has || e.Addr == addr
	}
	return len(list), has, nil
}

func (c *theirCopy) close() error {
	c.cancel()
	c.loops.Wait()
	return nil
}
