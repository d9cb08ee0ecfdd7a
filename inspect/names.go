package inspect

import (
	"context"
	"slices"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// namesRead is how many keys Names looks at: they have more names than anybody reads.
const namesRead = 2000

// Names are the names of a kind that begin with a text, as far as the first 2 000 of their keys show them, sorted: of the Kinds, and of jobs
// ("cron"). It is for completion: the nearest member is asked, who may be behind. ctx bounds it, or 5 s when ctx has no deadline.
func Names(ctx context.Context, c *clientv3.Client, kind, begin string, opts ...Option) ([]string, error) {
	o, err := optionsOf(opts, Option.any)
	if err != nil {
		return nil, err
	}
	ctx, cancel := etcd.Bounded(ctx)
	defer cancel()
	prefix := o.namespace + kind + "/"
	resp, err := c.Get(ctx, prefix+keyspace.Escape(begin), clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithSerializable(), clientv3.WithLimit(namesRead))
	if err != nil {
		return nil, etcd.Explain(c, err, prefix)
	}
	var names []string
	for _, kv := range resp.Kvs {
		escaped, _, _ := strings.Cut(strings.TrimPrefix(string(kv.Key), prefix), "/")
		if name := keyspace.Unescape(escaped); keyspace.CheckName(kind, name) == nil && keyspace.Escape(name) == escaped {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
