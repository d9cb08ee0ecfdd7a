package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/inspect"
)

func newReleaseCommand(g *globals) *cobra.Command {
	n := &named{}
	token, reason, force := "", "", false
	cmd := &cobra.Command{
		Use:                   "release [flags] --force --reason WHY [KIND] NAME",
		DisableFlagsInUseLine: true,
		Short:                 "Break somebody's hold",
		Long: `Break the hold on NAME of whoever has it: its entry is deleted, and the next one enters. The process that held hears of it in
a moment, and who broke its hold and why; "fenceline lock" then ends its command as for any lock that is lost. A process that
is cut off or stopped hears of it when it comes back: UNTIL THEN WHAT IT RUNS MAY GO ON. What checks tokens or guards refuses it from
now on; what does not, needs that process stopped first.

With --token it ends the hold that was looked at ("fenceline ls" shows tokens), and nothing if that has moved on. Without, who holds
now. Of several holders (readers, a semaphore) it has to be said which. Who only waits is let wait.

Exit codes: 0 broken; 1 nobody holds with that token any more, or nobody at all; 64 wrong command line; 69 etcd cannot be reached, or
refuses.`,
		Example: `  fenceline release nightly-backup --force --reason "hangs since 3 a.m., pid 7 was killed"
  fenceline release sem uploads --token 118784 --force --reason test`,
		ValidArgsFunction: completeLs(g, &n.namespace),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := n.parse(args); err != nil {
				return err
			}
			var at fence.Token
			switch parsed, err := fence.Parse(token); {
			case token != "" && err != nil:
				return usageErrorf("--token %q: it is no token", token)
			case !force:
				return usageErrorf("--force is missing: nobody is asked, the hold is broken")
			case reason == "":
				return usageErrorf("--reason is missing, or empty: the holder is told, and the history keeps it")
			default:
				at = parsed
			}
			return g.look(cmd.Context(), func(ctx context.Context, client *clientv3.Client) error {
				l, err := n.read(ctx, client)
				if err != nil {
					return err
				}
				e, err := n.holder(l, at)
				if err != nil {
					return err
				}
				err = inspect.Break(ctx, client, l.Kind, l.Name, e.Token, reason, inspect.WithNamespace(n.namespace), inspect.WithActor(actor()))
				switch {
				case errors.Is(err, inspect.ErrNotThere):
					return &ExitError{Code: exitFailure, Err: fmt.Errorf("%s %q has moved on: nobody holds with token %v any more", l.Kind, l.Name, e.Token)}
				case err != nil:
					return err
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "fenceline: %s %q is broken; %s held it with token %v, and what it runs may go on until it hears of that\n",
					l.Kind, l.Name, printable(e.Who()), e.Token)
				return nil
			})
		},
	}
	n.addFlags(cmd)
	cmd.Flags().StringVar(&token, "token", "", "the hold with this `token`, and no other")
	cmd.Flags().StringVar(&reason, "reason", "", "`why`, for the holder and the history")
	cmd.Flags().BoolVar(&force, "force", false, "break the hold")
	return cmd
}

// holder is the entry to break.
func (n *named) holder(l *inspect.Line, token fence.Token) (*inspect.Entry, error) {
	var holders []*inspect.Entry
	if l != nil {
		for i := range l.Entries {
			if e := &l.Entries[i]; e.State == inspect.Holds && (token == 0 || e.Revision == token.Revision()) {
				holders = append(holders, e)
			}
		}
	}
	switch {
	case len(holders) == 1:
		return holders[0], nil
	case len(holders) > 1:
		return nil, usageErrorf("%d hold %s: say which by --token", len(holders), n.what())
	case token != 0:
		return nil, &ExitError{Code: exitFailure, Err: fmt.Errorf("nobody holds %s with token %v", n.what(), token)}
	}
	return nil, &ExitError{Code: exitFailure, Err: fmt.Errorf("nobody holds %s", n.what())}
}

// actor is who runs this command.
func actor() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, _ := os.Hostname()
	return name + "@" + host
}
