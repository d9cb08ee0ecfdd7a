// Package witness is "fenceline witness" and "fenceline agent": they give back at once what a process held that is known to be dead.
package witness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/internal/witness"
)

// said is a log whose records are said as other messages are.
func said(say func(string, ...any), verbose bool) *slog.Logger {
	return slog.New(speaker{say, verbose})
}

type speaker struct {
	say     func(string, ...any)
	verbose bool
}

func (s speaker) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn || s.verbose && level >= slog.LevelInfo
}

func (s speaker) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	s.say("%s", text)
	return nil
}

func (s speaker) WithAttrs([]slog.Attr) slog.Handler { return s }
func (s speaker) WithGroup(string) slog.Handler      { return s }

type agentFlags struct {
	socket, mode string
	verbose      bool
}

// NewAgentCommand is "fenceline agent".
func NewAgentCommand(g *app.Globals) *cobra.Command {
	f := &agentFlags{socket: "/run/fenceline/witness.sock", mode: "0660"}
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Give back at once what dead processes of this machine held",
		Long: `Give back at once what processes of this machine held that are dead: killed, out of memory, or by a panic. Else others wait for up to the
TTL of their session, since etcd cannot tell a dead process from a slow one; the kernel can.

A process tells it its leases over the socket (session.WithWitness, or FENCELINE_WITNESS=PATH in its environment). When that very process
is dead, and has not said that processes which it started may still act, the agent revokes them. It does nothing for a process that lives,
whatever becomes of the connection. Whoever may connect may have revoked only leases of which he has the secret.

Its user needs to read fenceline/session/, and to write all keys of the leases, which etcd asks of who revokes one: the whole namespace, and
what locks and elections have been given as prefixes. When the agent is stopped or killed, the TTL decides. One agent serves a machine; in a
container that has no access to its socket, use "fenceline witness". It wants Linux 5.3 or later.

Exit codes: 0 ended by a signal; 1 PATH cannot be listened on, or the kernel has no pidfd; 64 wrong command line; 69 etcd cannot be
reached, or refuses, at the start.`,
		Example: `  fenceline agent --socket /run/fenceline/witness.sock
  FENCELINE_WITNESS=/run/fenceline/witness.sock ./worker`,
		Args: app.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			mode, err := strconv.ParseUint(f.mode, 8, 9)
			switch {
			case err != nil:
				return app.UsageErrorf("--mode %q: want three octal digits, as 0660", f.mode)
			case f.socket == "":
				return app.UsageErrorf("--socket: it is empty")
			}
			return f.run(cmd.Context(), g, os.FileMode(mode), app.Talk(cmd.ErrOrStderr(), "fenceline: "))
		},
	}
	cmd.Flags().StringVar(&f.socket, "socket", f.socket, "`path` of the socket")
	cmd.Flags().StringVar(&f.mode, "mode", f.mode, "who may connect, as permission `bits` of the socket")
	cmd.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "say what is given back")
	return cmd
}

func (f *agentFlags) run(ctx context.Context, g *app.Globals, mode os.FileMode, say func(string, ...any)) error {
	ctx, stop := app.UntilSignal(ctx)
	defer stop()
	client, err := g.Connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := g.Ping(ctx, client); err != nil {
		return err
	}
	l, err := witness.Listen(f.socket)
	if err != nil {
		return &app.ExitError{Code: app.ExitFailure, Err: fmt.Errorf("--socket: %w", err)}
	}
	if err := os.Chmod(f.socket, mode); err != nil {
		return &app.ExitError{Code: app.ExitFailure, Err: errors.Join(err, l.Close())}
	}
	say("witness at %s", f.socket)
	s := &witness.Server{Cluster: witness.Etcd(client), Log: said(say, f.verbose)}
	if err := s.Serve(ctx, l); err != nil {
		return &app.ExitError{Code: app.ExitFailure, Err: err}
	}
	return nil
}

// socket is one for a command of ours. What cannot be removed is an empty folder among temporary ones.
func socket() (path string, remove func(), err error) {
	dir, err := os.MkdirTemp("", "fenceline-witness-")
	if err != nil {
		return "", nil, err
	}
	return filepath.Join(dir, "socket"), func() { _ = os.RemoveAll(dir) }, nil
}
