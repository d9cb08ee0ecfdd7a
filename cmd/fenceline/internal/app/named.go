package app

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// Named is the line that a command is about: [KIND] NAME, or --prefix.
type Named struct {
	Namespace  string
	Prefix     string
	Kind, Name string // kind may be empty: the one kind in which somebody uses that name
}

func (n *Named) AddFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&n.Namespace, "namespace", DefaultNamespace, "`prefix` of all keys")
	cmd.Flags().StringVar(&n.Prefix, "prefix", "", "the line under this raw `prefix`, as etcdctl lock and lock.WithPrefix use it")
}

func (n *Named) Parse(args []string) error {
	switch {
	case n.Namespace == "":
		return UsageErrorf("--namespace: it is empty")
	case n.Prefix != "" && len(args) > 0:
		return UsageErrorf("%q: --prefix is instead of KIND and NAME", args[0])
	case n.Prefix != "":
		n.Kind, n.Name = PrefixKind, n.Prefix
		return nil
	case len(args) == 0:
		return UsageErrorf("NAME is missing")
	case len(args) > 2:
		return UsageErrorf("%q: one KIND and one NAME at most", args[2])
	case len(args) == 2:
		n.Kind = args[0]
		if err := CheckKind(n.Kind, false); err != nil {
			return err
		}
	}
	n.Name = args[len(args)-1]
	kind := n.Kind
	if kind == "" {
		kind = "line"
	}
	if err := keyspace.CheckName(kind, n.Name); err != nil {
		return UsageErrorf("%w", err)
	}
	return nil
}

func (n *Named) Options() []inspect.ReadOption {
	opts := []inspect.ReadOption{inspect.WithNamespace(n.Namespace)}
	switch {
	case n.Prefix != "":
		opts = append(opts, inspect.WithPrefix(n.Prefix))
	case n.Kind != "":
		opts = append(opts, inspect.WithLine(n.Kind, n.Name))
	}
	return opts
}

// Read is who stands in the line, and which it is; nil: nobody stands there.
func (n *Named) Read(ctx context.Context, client *clientv3.Client) (*inspect.Line, error) {
	s, err := inspect.Read(ctx, client, n.Options()...)
	if err != nil {
		return nil, err
	}
	var found []*inspect.Line
	var kinds []string
	for _, l := range s.Lines {
		if l.Name == n.Name && l.Kind != inspect.Strange {
			found, kinds = append(found, l), append(kinds, l.Kind)
		}
	}
	switch len(found) {
	case 0:
		return nil, nil
	case 1:
		return found[0], nil
	}
	return nil, UsageErrorf("%q is the name of a %s: say which KIND", n.Name, strings.Join(kinds, ", and of a "))
}

// What is the line in words.
func (n *Named) What() string {
	if n.Kind == "" {
		return fmt.Sprintf("%q", n.Name)
	}
	return fmt.Sprintf("%s %q", n.Kind, n.Name)
}

// CheckKind refuses what is no kind, which may be the name of a lock.
func CheckKind(kind string, alone bool) error {
	if slices.Contains(Kinds, kind) {
		return nil
	}
	err := fmt.Errorf("KIND %q: it is none of %s", kind, strings.Join(Kinds, ", "))
	switch {
	case kind == "session":
		err = fmt.Errorf("KIND %q: nobody stands in line for a session; they are shown with what they hold", kind)
	case alone && keyspace.CheckName(LockKind, kind) == nil:
		if strings.ContainsFunc(kind, func(r rune) bool {
			return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_./:", r)
		}) {
			kind = strconv.Quote(kind)
		}
		err = fmt.Errorf("%w; did you mean \"fenceline ls lock %s\"?", err, kind)
	}
	return UsageErrorf("%w", err)
}

// Matches says whether text is of a pattern, in which a slash is a character as any other. All is of the empty one.
func Matches(pattern, text string) bool {
	flat := strings.NewReplacer("/", "\x00")
	ok, _ := path.Match(flat.Replace(pattern), flat.Replace(text)) // patterns were looked at before
	return ok || pattern == ""
}
