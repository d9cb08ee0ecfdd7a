package election

import (
	"fmt"
	"unicode/utf8"

	"github.com/fenceline/fenceline/internal/keyspace"
)

type watchOptions struct {
	namespace string
	prefix    *string
}

// WatchOption says where an election is to be found, for those who read it without a Session.
type WatchOption func(*watchOptions)

// InNamespace looks in the namespace that the candidates' Sessions were given. Default "fenceline/".
func InNamespace(prefix string) WatchOption { return func(o *watchOptions) { o.namespace = prefix } }

// AtPrefix looks at the keys under prefix + "/" as they are, where candidates WithPrefix, etcd's
// concurrency.NewElection(s, prefix) and `etcdctl elect prefix` put them. The name is then only shown. Default: keys
// in the namespace, made from the name.
func AtPrefix(prefix string) WatchOption { return func(o *watchOptions) { o.prefix = &prefix } }

// resolve answers the prefix of the election's entries, or why there cannot be one.
func resolve(name string, opts []WatchOption) (string, error) {
	o := watchOptions{namespace: "fenceline/"}
	for _, opt := range opts {
		opt(&o)
	}
	if err := keyspace.CheckName("election", name); err != nil {
		return "", err
	}
	if o.prefix != nil {
		return *o.prefix + "/", keyspace.CheckName("prefix", *o.prefix)
	}
	if o.namespace == "" || len(o.namespace) > keyspace.MaxName || !utf8.ValidString(o.namespace) {
		return "", fmt.Errorf("namespace %q: want 1 to %d bytes of UTF-8", o.namespace, keyspace.MaxName)
	}
	return keyspace.Line(o.namespace, "election", name), nil
}
