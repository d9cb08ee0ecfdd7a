package elect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/internal/show"
)

type observeFlags struct {
	name      string
	namespace string
	prefix    string // raw; empty: from namespace and name
	once      bool
}

func NewObserveCommand(g *app.Globals) *cobra.Command {
	f := &observeFlags{}
	cmd := &cobra.Command{
		Use:                   "observe [flags] NAME",
		DisableFlagsInUseLine: true,
		Short:                 "Show who leads, and each change",
		Long: `Show who leads the election NAME, and then each change, a line each, until it is interrupted: another leader, another
value of the same leader, or nobody. Of changes that follow each other faster than they can be shown, the last is.

  TIME   when it was seen here
  TOKEN  fencing token of the leader; - when nobody leads
  VALUE  what the leader says of itself; -o json has all of a long one
  KEY    of its entry in etcd

With -o json each line is a document: {"time":…,"leader":{"value":…,"token":…,"key":…}}, and "leader":null for nobody.

Exit codes:
  0   interrupted by SIGINT or SIGTERM; with --once: somebody leads
  1   with --once: nobody leads
  64  wrong command line
  69  etcd cannot be reached, or refuses, at the start; later it is waited for`,
		Example: `  fenceline observe scheduler
  fenceline observe scheduler --once -o json | jq -r .leader.value
  fenceline observe --prefix my/election        # where "etcdctl elect my/election" stands`,
		ValidArgsFunction: app.CompleteName(g, &f.namespace, func() string { return app.ElectionKind }, cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.parse(cmd.Flags().Changed, args); err != nil {
				return err
			}
			return f.run(cmd.Context(), g, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&f.namespace, "namespace", app.DefaultNamespace, "`prefix` of all keys")
	cmd.Flags().StringVar(&f.prefix, "prefix", "", "instead of NAME: look under this raw `prefix`, as etcdctl elect and election.WithPrefix use it")
	cmd.Flags().BoolVar(&f.once, "once", false, "show who leads now, and end")
	return cmd
}

func (f *observeFlags) parse(given func(flag string) bool, args []string) error {
	if err := app.CheckPrefix(given("prefix"), f.prefix); err != nil {
		return err
	}
	switch {
	case len(args) == 0 && f.prefix == "":
		return app.UsageErrorf("NAME is missing")
	case len(args) > 0 && f.prefix != "":
		return app.UsageErrorf("%q: --prefix is instead of NAME", args[0])
	case len(args) > 1:
		return app.UsageErrorf("%q: one NAME at most", args[1])
	case f.namespace == "":
		return app.UsageErrorf("--namespace: it is empty")
	}
	f.name = f.prefix
	if len(args) > 0 {
		f.name = args[0]
	}
	if err := keyspace.CheckName("election", f.name); err != nil {
		return app.UsageErrorf("%w", err)
	}
	return nil
}

func (f *observeFlags) where() election.WatchOption {
	if f.prefix != "" {
		return election.WithPrefix(f.prefix)
	}
	return election.WithNamespace(f.namespace)
}

func (f *observeFlags) run(ctx context.Context, g *app.Globals, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	client, err := g.Connect(ctx)
	if err == nil {
		defer client.Close()
		err = g.Ping(ctx, client)
	}
	w := &leaderWriter{w: stdout, json: g.Output == app.OutputJSON}
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	case f.once:
		ctx, cancel := context.WithTimeout(ctx, g.Connection.CommandTimeout)
		defer cancel()
		leader, err := election.Current(ctx, client, f.name, f.where())
		return f.current(w, leader, err)
	}
	started := false
	for leader, err := range election.Observe(ctx, client, f.name, f.where()) {
		switch {
		case err != nil && !started:
			return app.UnavailableErrorf("%w", err)
		case err != nil: // it may pass
			app.Talk(stderr, "fenceline: ")("%v", err)
			continue
		}
		started = true
		if err := w.write(leader); err != nil {
			return err
		}
	}
	return nil
}

// current shows who leads, once.
func (f *observeFlags) current(w *leaderWriter, leader election.Leader, err error) error {
	nobody := errors.Is(err, election.ErrNoLeader)
	if err != nil && !nobody {
		return app.UnavailableErrorf("%w", err)
	}
	if nobody && !w.json {
		return &app.ExitError{Code: app.ExitFailure, Err: fmt.Errorf("nobody leads election %q", f.name)}
	}
	if err := w.write(leader); err != nil {
		return err
	}
	if nobody {
		return &app.ExitError{Code: app.ExitFailure}
	}
	return nil
}

// leaderWriter writes a line for each leader. A table that grows cannot know how wide its columns will be.
type leaderWriter struct {
	w    io.Writer
	json bool
	head bool // has been written
}

// Sighting is a leader at the time when it was seen.
type Sighting struct {
	Time   time.Time    `json:"time"`
	Leader *shownLeader `json:"leader"` // nil: nobody leads
}

type shownLeader struct {
	Value string `json:"value"`
	Token int64  `json:"token"`
	Key   string `json:"key"`
}

func (w *leaderWriter) write(l election.Leader) error {
	now := time.Now().UTC()
	if w.json {
		return w.writeJSON(Sighting{now, shown(l)})
	}
	const columns = "%-20s  %-8s  %-24s  %s"
	if !w.head {
		w.head = true
		if _, err := fmt.Fprintln(w.w, app.Bold(w.w, fmt.Sprintf(columns, "TIME", "TOKEN", "VALUE", "KEY"))); err != nil {
			return err
		}
	}
	token, value, key := "-", "-", "-"
	if l.Key != "" {
		token, value, key = l.Token.String(), show.Printable(show.Shorten(l.Value)), show.Printable(l.Key)
	}
	_, err := fmt.Fprintf(w.w, columns+"\n", now.Format(time.RFC3339), token, value, key)
	return err
}

func shown(l election.Leader) *shownLeader {
	if l.Key == "" {
		return nil
	}
	return &shownLeader{l.Value, int64(l.Token), l.Key}
}

func (w *leaderWriter) writeJSON(s Sighting) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return err
	}
	_, err := io.WriteString(w.w, app.PrintableJSON(text.String()))
	return err
}
