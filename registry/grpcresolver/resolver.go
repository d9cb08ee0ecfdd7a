// Package grpcresolver resolves fenceline:///SERVICE for gRPC, to the instances of a service that are Up.
//
//	conn, err := grpc.NewClient("fenceline:///greeter",
//		grpc.WithResolvers(grpcresolver.New(client)),
//		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`), …)
//
// It follows every change. An instance that is Draining is taken out, while gRPC lets the calls that it has go on. While
// etcd is away connections go on with the last good set; when there is none yet, or when the set is empty, calls fail
// with the reason instead of hanging. Entries that etcd's own naming manager has written are read as well.
//
// [FromDirectory] resolves from a Directory instead: one watch for all connections, the instances that it preserves, those of its snapshot,
// and those of its zone only, while there are any.
//
// gRPC's own policies know no weights. The policy "fenceline_weighted" does, and needs only its name in the service config: it draws a
// connection for each call, by the instances' Weight.
//
// With TLS, certificates have to name the service: that is the authority of the calls, unless grpc.WithAuthority says otherwise.
package grpcresolver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/resolver"

	"github.com/fenceline/fenceline/registry"
)

// Scheme of the targets.
const Scheme = "fenceline"

// New makes a builder for [grpc.WithResolvers], or for resolver.Register. The options are those of registry.Watch:
// registry.WithPrefix says where services stand. The caller closes client after the last connection.
func New(client *clientv3.Client, opts ...registry.WatchOption) resolver.Builder {
	return &builder{client: client, opts: opts}
}

// FromDirectory makes a builder that resolves from d, which must be closed after the last connection.
func FromDirectory(d *registry.Directory) resolver.Builder { return &builder{directory: d} }

type builder struct {
	client    *clientv3.Client
	opts      []registry.WatchOption
	directory *registry.Directory // instead of these
}

func (*builder) Scheme() string { return Scheme }

// Build does not wait for etcd.
func (b *builder) Build(target resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	service := target.Endpoint()
	if service == "" || strings.Contains(service, "/") {
		return nil, fmt.Errorf("grpcresolver: target %q: want %s:///SERVICE, a service without a slash", target.URL.String(), Scheme)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &following{client: b.client, service: service, opts: b.opts, cc: cc, cancel: cancel}
	follow := r.run
	if b.directory != nil {
		follow = func(ctx context.Context) { r.runFrom(ctx, b.directory) }
	}
	r.loop.Go(func() { follow(ctx) })
	return r, nil
}

// following is the resolver of one connection.
type following struct {
	client  *clientv3.Client
	service string
	opts    []registry.WatchOption
	cc      resolver.ClientConn
	cancel  context.CancelFunc
	loop    sync.WaitGroup
	seen    bool // somebody, once; the loop's own
}

// ResolveNow has nothing to do: changes arrive by themselves.
func (*following) ResolveNow(resolver.ResolveNowOptions) {}

// Close ends it, and waits for that.
func (r *following) Close() {
	r.cancel()
	r.loop.Wait()
}

func (r *following) run(ctx context.Context) {
	opts := append(r.opts[:len(r.opts):len(r.opts)], registry.WithTroubleFunc(r.report))
	for ins, err := range registry.Watch(ctx, r.client, r.service, opts...) {
		if err != nil {
			r.report(err) // and go on: it may pass
			continue
		}
		// That a set is empty is an error to gRPC, and calls fail with it: as they should.
		r.update(ins)
	}
}

func (r *following) runFrom(ctx context.Context, d *registry.Directory) {
	for entries, err := range d.Watch(ctx, r.service) {
		if err != nil {
			if ctx.Err() == nil {
				r.report(err)
			}
			return
		}
		ins := make([]registry.Instance, len(entries))
		for i, e := range entries {
			ins[i] = e.Instance
		}
		r.update(ins)
	}
}

func (r *following) update(ins []registry.Instance) {
	all := endpoints(ins)
	if len(all) == 0 && !r.seen { // of an empty set gRPC would say that it is empty, and not of whom
		r.report(fmt.Errorf("registry: nobody who is up offers %q", r.service))
		return
	}
	r.seen = true
	var addresses []resolver.Address // for policies that know no endpoints
	for _, e := range all {
		addresses = append(addresses, e.Addresses[0])
	}
	_ = r.cc.UpdateState(resolver.State{Endpoints: all, Addresses: addresses})
}

// report passes on the text only: gRPC would take a status that the error carries, which is of our request to etcd, for
// that of a call, and end also calls that are to wait.
func (r *following) report(err error) { r.cc.ReportError(errors.New(err.Error())) }

// endpoints are those that are Up, in the order of their IDs.
func endpoints(ins []registry.Instance) []resolver.Endpoint {
	up := make([]resolver.Endpoint, 0, len(ins))
	for _, in := range ins {
		if in.Status == registry.Up {
			of := attributes.New(key{}, value{in})
			up = append(up, resolver.Endpoint{Addresses: []resolver.Address{{Addr: in.Addr, BalancerAttributes: of}}, Attributes: of})
		}
	}
	return up
}

type key struct{}

// value is an attribute. gRPC asks whether it is the same, and connects anew if it is not.
type value struct{ instance registry.Instance }

// Equal is for gRPC.
func (v value) Equal(o any) bool {
	other, ok := o.(value)
	return ok && v.instance.Equal(other.instance)
}

// Instance is what the registry has of an endpoint: for load balancing policies of one's own, by Meta, Weight, Zone or
// Version. It returns false for endpoints that are not from here.
func Instance(e resolver.Endpoint) (registry.Instance, bool) {
	v, ok := e.Attributes.Value(key{}).(value)
	return v.instance, ok
}
