package app

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fenceline/fenceline/inspect"
)

const (
	completeWithin = time.Second // somebody waits at a prompt
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
	names, err := inspect.Names(ctx, client, kind, typed, inspect.WithNamespace(namespace))
	if err != nil {
		return nil
	}
	return names
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
