package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// named is the line that a command is about: [KIND] NAME, or --prefix.
type named struct {
	namespace  string
	prefix     string
	kind, name string // kind may be empty: the one kind in which somebody uses that name
}

func (n *named) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&n.namespace, "namespace", defaultNamespace, "`prefix` of all keys")
	cmd.Flags().StringVar(&n.prefix, "prefix", "", "the line under this raw `prefix`, as etcdctl lock and lock.WithPrefix use it")
}

func (n *named) parse(args []string) error {
	switch {
	case n.namespace == "":
		return usageErrorf("--namespace: it is empty")
	case n.prefix != "" && len(args) > 0:
		return usageErrorf("%q: --prefix is instead of KIND and NAME", args[0])
	case n.prefix != "":
		n.kind, n.name = prefixKind, n.prefix
		return nil
	case len(args) == 0:
		return usageErrorf("NAME is missing")
	case len(args) > 2:
		return usageErrorf("%q: one KIND and one NAME at most", args[2])
	case len(args) == 2:
		n.kind = args[0]
		if err := checkKind(n.kind, false); err != nil {
			return err
		}
	}
	n.name = args[len(args)-1]
	kind := n.kind
	if kind == "" {
		kind = "line"
	}
	if err := keyspace.CheckName(kind, n.name); err != nil {
		return usageErrorf("%w", err)
	}
	return nil
}

func (n *named) options() []inspect.ReadOption {
	opts := []inspect.ReadOption{inspect.WithNamespace(n.namespace)}
	switch {
	case n.prefix != "":
		opts = append(opts, inspect.WithPrefix(n.prefix))
	case n.kind != "":
		opts = append(opts, inspect.WithLine(n.kind, n.name))
	}
	return opts
}

// read is who stands in the line, and which it is; nil: nobody stands there.
func (n *named) read(ctx context.Context, client *clientv3.Client) (*inspect.Line, error) {
	s, err := inspect.Read(ctx, client, n.options()...)
	if err != nil {
		return nil, err
	}
	var found []*inspect.Line
	var kinds []string
	for _, l := range s.Lines {
		if l.Name == n.name && l.Kind != inspect.Strange {
			found, kinds = append(found, l), append(kinds, l.Kind)
		}
	}
	switch len(found) {
	case 0:
		return nil, nil
	case 1:
		return found[0], nil
	}
	return nil, usageErrorf("%q is the name of a %s: say which KIND", n.name, strings.Join(kinds, ", and of a "))
}

// what is the line in words.
func (n *named) what() string {
	if n.kind == "" {
		return fmt.Sprintf("%q", n.name)
	}
	return fmt.Sprintf("%s %q", n.kind, n.name)
}

// checkKind refuses what is no kind, which may be the name of a lock.
func checkKind(kind string, alone bool) error {
	if slices.Contains(kinds, kind) {
		return nil
	}
	err := fmt.Errorf("KIND %q: it is none of %s", kind, strings.Join(kinds, ", "))
	switch {
	case kind == "session":
		err = fmt.Errorf("KIND %q: nobody stands in line for a session; they are shown with what they hold", kind)
	case alone && keyspace.CheckName(lockKind, kind) == nil:
		if strings.ContainsFunc(kind, func(r rune) bool {
			return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_./:", r)
		}) {
			kind = strconv.Quote(kind)
		}
		err = fmt.Errorf("%w; did you mean \"fenceline ls lock %s\"?", err, kind)
	}
	return usageErrorf("%w", err)
}
