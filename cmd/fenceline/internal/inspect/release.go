package inspect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/show"
)

// lookAgainEvery is how often it is looked whether a hold that was asked for is given back.
const lookAgainEvery = 200 * time.Millisecond

func NewReleaseCommand(g *app.Globals) *cobra.Command {
	n := &app.Named{}
	token, reason, force, wait := "", "", false, app.Seconds(30*time.Second)
	cmd := &cobra.Command{
		Use:                   "release [flags] --reason WHY [KIND] NAME",
		DisableFlagsInUseLine: true,
		Short:                 "Ask for a hold to be given back, or break it",
		Long: `Ask whoever holds NAME to give it back, and wait until that is done. "fenceline lock", "elect" and "sem" send their command SIGTERM,
and give back when it has ended; other processes do as they like (session.Trace.Asked), or nothing.

With --force, break the hold: its entry is deleted, and the next one enters. The process that held hears of it in a moment, and
who broke its hold and why; "fenceline lock" then ends its command as for any lock that is lost. A process that is cut off or
stopped hears of it when it comes back: UNTIL THEN WHAT IT RUNS MAY GO ON. What checks tokens or guards refuses it from now on;
what does not, needs that process stopped first.

With --token it is about the hold that was looked at ("fenceline ls" shows tokens), and does nothing if that has moved on. Without,
about who holds now. Of several holders (readers, a semaphore) it has to be said which. Who only waits is let wait.

Exit codes: 0 given back, or broken; 1 nobody holds, or not with that token any more, or it was not given back in time (-w); 64 wrong
command line; 69 etcd cannot be reached, or refuses.`,
		Example: `  fenceline release nightly-backup --reason maintenance
  fenceline release nightly-backup --force --reason "hangs since 3 a.m., its machine is off"`,
		ValidArgsFunction: app.CompleteLs(g, &n.Namespace),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := n.Parse(args); err != nil {
				return err
			}
			var at fence.Token
			switch parsed, err := fence.Parse(token); {
			case token != "" && err != nil:
				return app.UsageErrorf("--token %q: it is no token", token)
			case reason == "":
				return app.UsageErrorf("--reason is missing, or empty: the holder is told, and the history keeps it")
			case force && cmd.Flags().Changed("wait"):
				return app.UsageErrorf("--force and -w exclude each other: what is broken is not waited for")
			default:
				at = parsed
			}
			r := &release{Named: n, reason: reason, say: app.Talk(cmd.ErrOrStderr(), "fenceline: ")}
			err := g.Ask(cmd.Context(), func(ctx context.Context, client *clientv3.Client) error { return r.find(ctx, client, at, force) })
			if err != nil || force {
				return err
			}
			return r.await(cmd.Context(), g, time.Duration(wait))
		},
	}
	n.AddFlags(cmd)
	cmd.Flags().StringVar(&token, "token", "", "the hold with this `token`, and no other")
	cmd.Flags().StringVar(&reason, "reason", "", "`why`, for the holder and the history")
	cmd.Flags().BoolVar(&force, "force", false, "break the hold")
	cmd.Flags().VarP(&wait, "wait", "w", "wait for it for so many `seconds`")
	return cmd
}

// release is one hold that is to be given back.
type release struct {
	*app.Named
	reason string
	say    func(string, ...any)
	line   *inspect.Line
	entry  *inspect.Entry
}

// find finds it, and asks for it or breaks it.
func (r *release) find(ctx context.Context, client *clientv3.Client, token fence.Token, force bool) (err error) {
	if r.line, err = r.Read(ctx, client); err != nil {
		return err
	}
	if r.entry, err = holderOf(r.Named, r.line, token); err != nil {
		return err
	}
	do := inspect.Ask
	if force {
		do = inspect.Break
	}
	err = do(ctx, client, r.line.Kind, r.line.Name, r.entry.Token, r.reason, inspect.WithNamespace(r.Namespace))
	who := show.Printable(r.entry.Who())
	switch {
	case errors.Is(err, inspect.ErrNotThere):
		return &app.ExitError{Code: app.ExitFailure, Err: fmt.Errorf("%s %q has moved on: nobody holds with token %v any more", r.line.Kind, r.line.Name, r.entry.Token)}
	case err != nil:
		return err
	case force:
		r.say("%s %q is broken; %s held it with token %v, and what it runs may go on until it hears of that", r.line.Kind, r.line.Name, who, r.entry.Token)
	default:
		r.say("%s is asked to give back %s %q", who, r.line.Kind, r.line.Name)
	}
	return nil
}

// await waits until the entry is gone.
func (r *release) await(ctx context.Context, g *app.Globals, most time.Duration) error {
	client, err := g.Connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	r.Kind, r.Name = r.line.Kind, r.line.Name
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for {
		l, err := r.Read(ctx, client)
		if err == nil && (l == nil || !slices.ContainsFunc(l.Entries, func(e inspect.Entry) bool { return e.Revision == r.entry.Revision })) {
			r.say("%s %q is given back", r.Kind, r.Name)
			return nil
		}
		if !etcd.Sleep(ctx, lookAgainEvery) {
			break
		}
	}
	return &app.ExitError{Code: app.ExitFailure, Err: fmt.Errorf("%s %q is not given back within %v: %s keeps it; --force breaks it", r.Kind, r.Name, most,
		show.Printable(r.entry.Who()))}
}

// holder is the entry to break.
func holderOf(n *app.Named, l *inspect.Line, token fence.Token) (*inspect.Entry, error) {
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
		return nil, app.UsageErrorf("%d hold %s: say which by --token", len(holders), n.What())
	case token != 0:
		return nil, &app.ExitError{Code: app.ExitFailure, Err: fmt.Errorf("nobody holds %s with token %v", n.What(), token)}
	}
	return nil, &app.ExitError{Code: app.ExitFailure, Err: fmt.Errorf("nobody holds %s", n.What())}
}
