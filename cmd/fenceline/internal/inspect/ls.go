// Package inspect is the commands that look and intervene: one file each. What they know of etcd's keys, the library's package inspect knows.
package inspect

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// lsFlags say which lines are asked for.
type lsFlags struct {
	app.Named // kind may be empty: all; and so may name: all of the kind

	match, host, state string // of the entries that are shown; empty: all
	wide, watch        bool
	every              app.Seconds
}

func NewLsCommand(g *app.Globals) *cobra.Command {
	f := &lsFlags{every: app.Seconds(2 * time.Second)}
	cmd := &cobra.Command{
		Use:                   "ls [flags] [KIND] [NAME]",
		DisableFlagsInUseLine: true,
		Short:                 "Show who holds and who waits",
		Long: `Show who holds and who waits, in their order: in all lines, those of one KIND (lock, rwlock, election,
semaphore, barrier, gate, latch), or that of one NAME. All is read at one revision of etcd.

  POS    place in the line
  STATE  holds (in an election: leads) or waits; who wants several locks at once waits until all of them are free.
         Or released: given back, but kept from the others for the rest of a minimum hold. Of a semaphore whose limit
         was made smaller, who holds and does not fit any more counts as one who waits: etcd is told of no grant.
         A party of a barrier waits, or is inside a round that was full; a gate is closed, or not shown; a latch is
         open, or has so many count-downs left. Who waits at gates and latches leaves no trace
  MODE   of a rwlock (fenceline lock -s, -x): who reads holds together with the readers next to it, who writes alone
  UNITS  of a semaphore: what this one has or wants, of how many
  PRIORITY  of a candidate in an election: among those who wait, the highest goes first
  TOKEN  fencing token of its first holder: the create revision of the entry times 4096
  WHO    what the process says of itself; an entry that fenceline did not write is unknown
  SINCE  when it came into this state, by the clock of its process, which says so once it has waited or held for a
         second; who is not of fenceline does not
  OWNER  for whom it holds or waits (session.WithOwner), if that was said
  VALUE  what a leader or candidate says, or an entry that is not of fenceline; of a barrier and a latch, their number.
         -o json has all of a long one

With --wide it shows both since when an entry waited and since when it holds, how long its lease lives if nobody renews it, and its
key. With --watch it shows that again whenever something has changed, until it is interrupted: it looks every 2 seconds (--every).

Exit codes: 0, also when nobody is there; 64 wrong command line; 69 etcd cannot be reached, or refuses.`,
		Example: `  fenceline ls
  fenceline ls lock nightly-backup -o json
  fenceline ls --prefix my/lock                # where "etcdctl lock my/lock" waits
  fenceline ls --match 'batch-*' --state waits --watch`,
		ValidArgsFunction: app.CompleteLs(g, &f.Namespace),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.parse(args); err != nil {
				return err
			}
			if f.watch {
				return f.follow(cmd.Context(), g, cmd.OutOrStdout(), cmd.ErrOrStderr())
			}
			return g.Ask(cmd.Context(), func(ctx context.Context, client *clientv3.Client) error {
				found, err := inspect.Read(ctx, client, f.options()...)
				if err != nil {
					return err
				}
				return f.show(ctx, g, client, f.chosen(found), cmd.OutOrStdout(), cmd.ErrOrStderr())
			})
		},
	}
	cmd.Flags().StringVar(&f.Namespace, "namespace", app.DefaultNamespace, "`prefix` of all keys")
	cmd.Flags().StringVar(&f.Prefix, "prefix", "", "show the line under this raw `prefix`, as etcdctl lock and lock.WithPrefix use it")
	cmd.Flags().StringVar(&f.match, "match", "", "only names that match this `pattern`: * is anything, ? one character")
	cmd.Flags().StringVar(&f.host, "host", "", "only entries of processes on hosts that match this `pattern`")
	cmd.Flags().StringVar(&f.state, "state", "", "only entries in this `state`: holds or waits")
	cmd.Flags().BoolVarP(&f.wide, "wide", "w", false, "show times, leases and keys, too")
	cmd.Flags().BoolVar(&f.watch, "watch", false, "show it again at each change")
	cmd.Flags().Var(&f.every, "every", "--watch: look every so many `seconds`")
	return cmd
}

func (f *lsFlags) parse(args []string) error {
	switch {
	case len(args) > 2:
		return app.UsageErrorf("%q: one KIND and one NAME at most", args[2])
	case f.Prefix != "" && len(args) > 0:
		return app.UsageErrorf("%q: --prefix is instead of KIND and NAME", args[0])
	case f.Namespace == "":
		return app.UsageErrorf("--namespace: it is empty")
	case f.state != "" && f.state != inspect.Holds && f.state != inspect.Waits:
		return app.UsageErrorf("--state %q: it is neither holds nor waits", f.state)
	case f.every < app.Seconds(100*time.Millisecond):
		return app.UsageErrorf("--every: want at least 0.1 seconds")
	}
	for flag, pattern := range map[string]string{"--match": f.match, "--host": f.host} {
		if _, err := path.Match(pattern, ""); err != nil {
			return app.UsageErrorf("%s %q: it is not a pattern: %w", flag, pattern, err)
		}
	}
	if len(args) > 0 {
		f.Kind = args[0]
		if err := app.CheckKind(f.Kind, len(args) == 1); err != nil {
			return err
		}
	}
	if len(args) > 1 {
		f.Name = args[1]
		if err := keyspace.CheckName(f.Kind, f.Name); err != nil {
			return app.UsageErrorf("%w", err)
		}
	}
	return nil
}

// options name the lines.
func (f *lsFlags) options() []inspect.ReadOption {
	opts := []inspect.ReadOption{inspect.WithNamespace(f.Namespace)}
	switch {
	case f.Prefix != "":
		opts = append(opts, inspect.WithPrefix(f.Prefix))
	case f.Name != "":
		opts = append(opts, inspect.WithLine(f.Kind, f.Name))
	case f.Kind != "":
		opts = append(opts, inspect.WithKind(f.Kind))
	}
	return opts
}

// where is what is looked at, for people.
func (f *lsFlags) where() string {
	switch {
	case f.Prefix != "":
		return fmt.Sprintf("%q", f.Prefix+"/")
	case f.Name != "":
		return fmt.Sprintf("%q", keyspace.Line(f.Namespace, f.Kind, f.Name))
	case f.Kind != "":
		return fmt.Sprintf("%q", f.Namespace+f.Kind+"/")
	}
	return fmt.Sprintf("%q", f.Namespace)
}

// chosen are those entries that the flags ask for.
func (f *lsFlags) chosen(s *inspect.Snapshot) *inspect.Snapshot {
	if f.match == "" && f.host == "" && f.state == "" {
		return s
	}
	return s.Where(func(l *inspect.Line, e *inspect.Entry) bool {
		host := ""
		if e.Session != nil {
			host = e.Session.Host
		}
		return app.Matches(f.match, l.Name) && app.Matches(f.host, host) && (f.state == "" || f.state == e.State)
	})
}

// show prints what was found.
func (f *lsFlags) show(ctx context.Context, g *app.Globals, client *clientv3.Client, found *inspect.Snapshot, stdout, stderr io.Writer) error {
	if len(found.Lines) == 0 && g.Output == app.OutputTable {
		fmt.Fprintf(stderr, "fenceline: nobody holds or waits under %s\n", f.where())
		return nil
	}
	if !f.wide || g.Output == app.OutputJSON {
		return PrintListing(g, stdout, found)
	}
	left, err := inspect.LeasesLeft(ctx, client, found)
	if err != nil {
		return err
	}
	header, rows := found.Wide(left)
	return (&app.Table{Header: header, Rows: rows}).Write(stdout)
}

// follow shows what has changed, again and again, until a signal.
func (f *lsFlags) follow(ctx context.Context, g *app.Globals, stdout, stderr io.Writer) error {
	before := ""
	return g.Redrawn(ctx, stdout, stderr, time.Duration(f.every), func(ctx context.Context, client *clientv3.Client, to *app.Canvas) error {
		found, err := inspect.Read(ctx, client, f.options()...)
		if err != nil {
			return err
		}
		found = f.chosen(found)
		now := ""
		for _, l := range found.Lines {
			for _, e := range l.Entries {
				now += fmt.Sprintln(e.Key, e.Revision, e.State, e.Value, e.Since().Unix())
			}
		}
		if now += "."; now == before { // the dot tells it from nothing shown yet
			return nil
		}
		before = now
		return f.show(ctx, g, client, found, to, to)
	})
}

// PrintListing is print with everything escaped that a terminal could take for a command: names and values are other
// people's bytes.
func PrintListing(g *app.Globals, w io.Writer, found *inspect.Snapshot) error {
	if g.Output != app.OutputJSON {
		return g.Print(w, nil, app.Draw(found))
	}
	var text bytes.Buffer
	if err := g.Print(&text, found, nil); err != nil {
		return err
	}
	_, err := io.WriteString(w, app.PrintableJSON(text.String()))
	return err
}
