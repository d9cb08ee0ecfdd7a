package registry

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/mirror"
)

// Lookup reads who offers a service, once, from the quorum: sorted by ID, whatever their status, and empty if there is
// nobody. It needs no Session. An etcd that cannot be reached is reported when ctx ends, or after 5 s when ctx has no
// deadline. An invalid service is an error before any request.
func Lookup(ctx context.Context, client *clientv3.Client, service string, opts ...ReadOption) ([]Instance, error) {
	ins, err := lookup(ctx, client, service, opts)
	if err != nil {
		return nil, fmt.Errorf("registry: look up %q: %w", service, err)
	}
	return ins, nil
}

// LookupAll is Lookup for all services under the prefix, by name.
func LookupAll(ctx context.Context, client *clientv3.Client, opts ...ReadOption) (map[string][]Instance, error) {
	r, o, err := rangeOf(client, "", opts, ReadOption.read)
	if err != nil {
		return nil, fmt.Errorf("registry: look up all: %w", err)
	}
	kvs, err := r.ListOnce(ctx)
	if err != nil {
		return nil, fmt.Errorf("registry: look up all: %w", err)
	}
	s := newSet(o)
	s.load(kvs)
	return s.byService(), nil
}

func lookup(ctx context.Context, client *clientv3.Client, service string, opts []ReadOption) ([]Instance, error) {
	if err := checkName("service", service); err != nil {
		return nil, err
	}
	r, o, err := rangeOf(client, service, opts, ReadOption.read)
	if err != nil {
		return nil, err
	}
	kvs, err := r.ListOnce(ctx)
	if err != nil {
		return nil, err
	}
	s := newSet(o)
	s.load(kvs)
	return s.list(), nil
}

// rangeOf is where the instances of a service stand; of all services, if it is empty. apply is of the verb's kind of option.
func rangeOf[O any](client *clientv3.Client, service string, opts []O, apply func(O, *options)) (*mirror.Range, options, error) {
	o, err := resolve(opts, apply)
	if err != nil {
		return nil, o, err
	}
	prefix := o.reads()
	if service != "" {
		prefix = o.serviceAt(service)
	}
	r, err := mirror.NewRange(client, prefix, "WithPrefix")
	return r, o, err
}

// InstancesIn is what LookupAll returns, of keys that were read already: all under prefix, in any order, and at one revision. It is for whoever
// reads services together with other things. What is no instance is left out.
func InstancesIn(prefix string, kvs []*mvccpb.KeyValue) map[string][]Instance {
	o, err := resolve([]Option{WithPrefix(prefix)}, Option.register)
	if err != nil { // no service can stand under such a prefix
		return map[string][]Instance{}
	}
	s := newSet(o)
	s.load(kvs)
	return s.byService()
}
