package app

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keyspace"
)

const (
	completeWithin = time.Second // somebody waits at a prompt
	completeKeys   = 2000        // more names than anybody reads
)

// completion returns what may stand where the cursor is.
type completion = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective)

// CompleteName completes one name of a kind that somebody holds or waits for, and does with what follows what is said.
// What decides about kind and namespace is read before.
func CompleteName(g *Globals, namespace *string, kind func() string, then cobra.ShellCompDirective) completion {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, then
		}
		return g.LiveNames(cmd.Context(), *namespace, kind(), typed), cobra.ShellCompDirectiveNoFileComp
	}
}

func CompleteLs(g *Globals, namespace *string) completion {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		switch len(args) {
		case 0:
			return Kinds, cobra.ShellCompDirectiveNoFileComp
		case 1:
			return g.LiveNames(cmd.Context(), *namespace, args[0], typed), cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// LiveNames are the names of a kind in etcd that begin with what was typed. Whatever fails, there are none: a prompt is
// no place for messages.
func (g *Globals) LiveNames(ctx context.Context, namespace, kind, typed string) []string {
	if ctx == nil { // cobra has none when it completes
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeWithin)
	defer cancel()
	c := &g.Connection
	if c.FromEnvironment() != nil || c.user != "" && !strings.Contains(c.user, ":") && c.password == "" && c.passwordFile == "" {
		return nil // or it would ask for the password
	}
	c.dialTimeout = min(c.dialTimeout, completeWithin)
	client, err := g.Connect(ctx)
	if err != nil {
		return nil
	}
	defer client.Close()
	prefix := namespace + kind + "/"
	resp, err := client.Get(ctx, prefix+keyspace.Escape(typed), clientv3.WithPrefix(), clientv3.WithKeysOnly(),
		clientv3.WithSerializable(), clientv3.WithLimit(completeKeys))
	if err != nil {
		return nil
	}
	var names []string
	for _, kv := range resp.Kvs {
		escaped, _, _ := strings.Cut(strings.TrimPrefix(string(kv.Key), prefix), "/")
		if name := keyspace.Unescape(escaped); keyspace.CheckName(kind, name) == nil && keyspace.Escape(name) == escaped {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// CompleteKind completes one name of a kind, in the namespace that the flag says.
func CompleteKind(g *Globals, kind string) completion {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		namespace := DefaultNamespace
		if f := cmd.Flags().Lookup("namespace"); f != nil {
			namespace = f.Value.String()
		}
		return g.LiveNames(cmd.Context(), namespace, kind, typed), cobra.ShellCompDirectiveNoFileComp
	}
}
