package registry

import (
	"context"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/naming/endpoints"

	"github.com/fenceline/fenceline/registry"
	"github.com/fenceline/fenceline/session"
)

// subject is a registry, on a client and under a prefix.
type subject struct {
	// process opens what one process registers with.
	process func(ctx context.Context, client *clientv3.Client, prefix string, ttl time.Duration) (process, error)
	// watch calls seen with the addresses of a service, whenever they change, until ctx ends.
	watch func(ctx context.Context, client *clientv3.Client, prefix, service string, seen func(addrs map[string]bool)) error
	// read is one look at etcd. It returns how many there are.
	read func(ctx context.Context, client *clientv3.Client, prefix, service string) (int, error)
	// copy opens a live copy of all services.
	copy func(ctx context.Context, client *clientv3.Client, prefix string, services []string) (directory, error)
}

type process interface {
	register(ctx context.Context, service, addr string) error
	deregister(ctx context.Context, service, addr string) error
	close(ctx context.Context) error
}

// directory is a live copy.
type directory interface {
	// read returns how many there are, and whether addr is one of them; empty is not asked for.
	read(ctx context.Context, service, addr string) (n int, has bool, err error)
	close() error
}

var registries = map[string]*subject{
	"fenceline": {openOurs, watchOurs, readOurs, copyOurs},
	"etcd":      {openTheirs, watchTheirs, readTheirs, copyTheirs},
}

type ours struct {
	session *session.Session
	at      registry.Option

	mu      sync.Mutex
	entries map[string]*registry.Registration
}

func openOurs(ctx context.Context, client *clientv3.Client, prefix string, ttl time.Duration) (process, error) {
	s, err := session.Open(ctx, client, session.WithTTL(ttl), session.WithNamespace(prefix+"sessions/"))
	if err != nil {
		return nil, err
	}
	return &ours{session: s, at: registry.WithPrefix(prefix + "services/"), entries: map[string]*registry.Registration{}}, nil
}

func (p *ours) register(ctx context.Context, service, addr string) error {
	r, err := registry.Register(ctx, p.session, service, registry.Instance{Addr: addr}, p.at)
	if err == nil {
		p.mu.Lock()
		p.entries[service+"/"+addr] = r
		p.mu.Unlock()
	}
	return err
}

func (p *ours) deregister(ctx context.Context, service, addr string) error {
	p.mu.Lock()
	r := p.entries[service+"/"+addr]
	delete(p.entries, service+"/"+addr)
	p.mu.Unlock()
	return r.Deregister(ctx)
}

func (p *ours) close(ctx context.Context) error { return p.session.Close(ctx) }

func watchOurs(ctx context.Context, client *clientv3.Client, prefix, service string, seen func(map[string]bool)) error {
	for ins, err := range registry.Watch(ctx, client, service, registry.WithPrefix(prefix+"services/")) {
		if err != nil {
			return err
		}
		addrs := make(map[string]bool, len(ins))
		for _, in := range ins {
			addrs[in.Addr] = true
		}
		seen(addrs)
	}
	return nil
}

func readOurs(ctx context.Context, client *clientv3.Client, prefix, service string) (int, error) {
	ins, err := registry.Lookup(ctx, client, service, registry.WithPrefix(prefix+"services/"))
	return len(ins), err
}

type ourDirectory struct{ *registry.Directory }

func copyOurs(ctx context.Context, client *clientv3.Client, prefix string, _ []string) (directory, error) {
	d, err := registry.OpenDirectory(ctx, client, registry.WithPrefix(prefix+"services/"))
	return ourDirectory{d}, err
}

func (d ourDirectory) read(ctx context.Context, service, addr string) (int, bool, error) {
	entries, err := d.Instances(ctx, service)
	if addr == "" || err != nil {
		return len(entries), false, err
	}
	for _, e := range entries {
		if e.Addr == addr {
			return len(entries), true, nil
		}
	}
	return len(entries), false, nil
}

func (d ourDirectory) close() error {
	if d.Directory == nil { // it was not opened
		return nil
	}
	return d.Close()
}

// theirs is what etcd's documentation shows: a session for the lease, a manager for the entries.
type theirs struct {
	client  *clientv3.Client
	prefix  string
	session *concurrency.Session
}

func openTheirs(ctx context.Context, client *clientv3.Client, prefix string, ttl time.Duration) (process, error) {
	lease, err := client.Grant(ctx, int64(ttl/time.Second)) // within ctx, which the session's own would outlive
	if err != nil {
		return nil, err
	}
	s, err := concurrency.NewSession(client, concurrency.WithLease(lease.ID))
	return &theirs{client, prefix, s}, err
}

func target(prefix, service string) string { return prefix + "services/" + service }

func (p *theirs) register(ctx context.Context, service, addr string) error {
	m, err := endpoints.NewManager(p.client, target(p.prefix, service))
	if err != nil {
		return err
	}
	return m.AddEndpoint(ctx, target(p.prefix, service)+"/"+addr, endpoints.Endpoint{Addr: addr}, clientv3.WithLease(p.session.Lease()))
}

func (p *theirs) deregister(ctx context.Context, service, addr string) error {
	m, err := endpoints.NewManager(p.client, target(p.prefix, service))
	if err != nil {
		return err
	}
	return m.DeleteEndpoint(ctx, target(p.prefix, service)+"/"+addr)
}

func (p *theirs) close(context.Context) error { return p.session.Close() }

// watchTheirs keeps the set from the updates, as etcd's resolver does.
func watchTheirs(ctx context.Context, client *clientv3.Client, prefix, service string, seen func(map[string]bool)) error {
	m, err := endpoints.NewManager(client, target(prefix, service))
	if err != nil {
		return err
	}
	updates, err := m.NewWatchChannel(ctx)
	if err != nil {
		return err
	}
	addrs := map[string]bool{}
	seen(addrs)
	for {
		select {
		case <-ctx.Done():
			for range updates { // else its goroutine waits forever for somebody who takes the next
			}
			return nil
		case more, ok := <-updates:
			if !ok && ctx.Err() != nil {
				return nil
			}
			if !ok {
				return fmt.Errorf("bench: etcd's watch of %s has ended", service)
			}
			next := make(map[string]bool, len(addrs)+1)
			for a := range addrs {
				next[a] = true
			}
			for _, u := range more {
				if u.Op == endpoints.Add {
					next[u.Endpoint.Addr] = true
				} else {
					delete(next, u.Key[len(target(prefix, service))+1:]) // the update does not say the address
				}
			}
			addrs = next
			seen(addrs)
		}
	}
}

func readTheirs(ctx context.Context, client *clientv3.Client, prefix, service string) (int, error) {
	m, err := endpoints.NewManager(client, target(prefix, service))
	if err != nil {
		return 0, err
	}
	all, err := m.List(ctx)
	return len(all), err
}
