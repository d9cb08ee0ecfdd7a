package registry

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	etcdresolver "go.etcd.io/etcd/client/v3/naming/resolver"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/serviceconfig"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/registry"
	"github.com/fenceline/fenceline/registry/grpcresolver"
)

// builders are the gRPC resolvers of the subjects, with the target of a service under a prefix.
var builders = map[string]func(client *clientv3.Client, prefix, service string) (resolver.Builder, string, error){
	"fenceline": func(client *clientv3.Client, prefix, service string) (resolver.Builder, string, error) {
		return grpcresolver.New(client, registry.WithPrefix(prefix+"services/")), "fenceline:///" + service, nil
	},
	"etcd": func(client *clientv3.Client, prefix, service string) (resolver.Builder, string, error) {
		b, err := etcdresolver.NewBuilder(client)
		return b, "etcd:///" + target(prefix, service), err
	},
}

// connection is a gRPC connection that only notes what its resolver says.
type connection struct{ states chan resolver.State }

func (c connection) UpdateState(s resolver.State) error {
	select {
	case c.states <- s:
	default: // nobody waits for it any more
	}
	return nil
}
func (connection) ReportError(error)             {}
func (connection) NewAddress([]resolver.Address) {}
func (connection) ParseServiceConfig(string) *serviceconfig.ParseResult {
	return nil
}

// until waits for a state with so many endpoints.
func (c connection) until(ctx context.Context, n int) error {
	late := time.NewTimer(seenTimeout)
	defer late.Stop()
	for {
		select {
		case s := <-c.states:
			if len(s.Endpoints) == n {
				return nil
			}
		case <-late.C:
			return fmt.Errorf("bench: no resolver says within %v that there are %d endpoints", seenTimeout, n)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// resolvers measures from the call that registers an instance until gRPC is told.
func (r *runner) resolvers(ctx context.Context, name string) (err error) {
	r.Say(fmt.Sprintf("%s: %d registrations, seen by a gRPC resolver", name, r.Times))
	prefix := r.place()
	builder, to, err := builders[name](r.client, prefix, "web")
	if err != nil {
		return err
	}
	u, err := url.Parse(to)
	if err != nil {
		return err
	}
	p, err := registries[name].process(ctx, r.client, prefix, 60*time.Second)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closing(ctx, p)) }()
	if err := p.register(ctx, "web", "10.0.255.1:80"); err != nil { // one that stays: etcd's resolver does not push an empty set
		return err
	}
	cc := connection{make(chan resolver.State, 1000)}
	running, err := builder.Build(resolver.Target{URL: *u}, cc, resolver.BuildOptions{})
	if err != nil {
		return err
	}
	defer running.Close()
	if err := cc.until(ctx, 1); err != nil {
		return err
	}
	var times []time.Duration
	for i := range r.Times {
		addr := fmt.Sprintf("10.0.%d.%d:80", i/200, i%200+1)
		began := time.Now()
		if err := p.register(ctx, "web", addr); err != nil {
			return err
		}
		if err := cc.until(ctx, 2); err != nil {
			return err
		}
		times = append(times, time.Since(began))
		if err := p.deregister(ctx, "web", addr); err != nil {
			return err
		}
		if err := cc.until(ctx, 1); err != nil {
			return err
		}
	}
	r.add(bench.Times(Resolved, name, times))
	return nil
}
