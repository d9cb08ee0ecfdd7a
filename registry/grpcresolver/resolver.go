// Package grpcresolver resolves fenceline:///SERVICE for gRPC, to the instances of a service that are Up.
//
//	conn, err := grpc.NewClient("fenceline:///greeter",
//		grpc.WithResolvers(grpcresolver.New(client)),
//		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`), …)
//
// It follows every change. An instance that is Draining is taken out, while gRPC lets the calls that it has go on. While
// etcd is away connections go on with the last good set; when there is none yet, or when the set is empty, calls fail
// with the reason instead of hanging. Entries that etcd's own naming manager has written are read as well.
package grpcresolver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/resolver"

	"github.com/fenceline/fenceline/registry"
)

// Scheme of the targets.
const Scheme = "fenceline"

// New makes a builder for [grpc.WithResolvers], or for resolver.Register. The caller closes client after the last
// connection.
func New(client *clientv3.Client) resolver.Builder { return NewWith(client) }

// NewWith is New with options of registry.Watch: At says where services stand.
func NewWith(client *clientv3.Client, opts ...registry.Option) resolver.Builder {
	return &builder{client, opts}
}

type builder struct {
	client *clientv3.Client
	opts   []registry.Option
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
	r.loop.Go(func() { r.run(ctx) })
	return r, nil
}

// following is the resolver of one connection.
type following struct {
	client  *clientv3.Client
	service string
	opts    []registry.Option
	cc      resolver.ClientConn
	cancel  context.CancelFunc
	loop    sync.WaitGroup
}

// ResolveNow has nothing to do: changes arrive by themselves.
func (*following) ResolveNow(resolver.ResolveNowOptions) {}

// Close ends it, and waits for that.
func (r *following) Close() {
	r.cancel()
	r.loop.Wait()
}

// refusedAgain is how long to wait after a refusal: what etcd does not allow today it may allow tomorrow.
const refusedAgain = 10 * time.Second

func (r *following) run(ctx context.Context) {
	opts := append(r.opts[:len(r.opts):len(r.opts)], registry.OnTrouble(r.report))
	for ctx.Err() == nil {
		for ins, err := range registry.Watch(ctx, r.client, r.service, opts...) {
			if err != nil {
				r.report(err)
				if errors.Is(err, grpc.ErrClientConnClosing) {
					return
				}
				continue // it was the last
			}
			// That a set is empty is an error to gRPC, and calls fail with it: as they should.
			_ = r.cc.UpdateState(resolver.State{Endpoints: endpoints(ins)})
		}
		select {
		case <-ctx.Done():
		case <-time.After(refusedAgain):
		}
	}
}

// report passes on the text only: gRPC would take a status that the error carries, which is of our request to etcd, for
// that of a call, and end also calls that are to wait.
func (r *following) report(err error) { r.cc.ReportError(errors.New(err.Error())) }

// endpoints are those that are Up, in the order of their IDs.
func endpoints(ins []registry.Instance) []resolver.Endpoint {
	up := make([]resolver.Endpoint, 0, len(ins))
	for _, in := range ins {
		if in.Status == registry.Up {
			up = append(up, resolver.Endpoint{Addresses: []resolver.Address{{Addr: in.Addr}}, Attributes: attributes.New(key{}, value{in})})
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
// Version. It answers false for endpoints that are not from here.
func Instance(e resolver.Endpoint) (registry.Instance, bool) {
	v, ok := e.Attributes.Value(key{}).(value)
	return v.instance, ok
}
