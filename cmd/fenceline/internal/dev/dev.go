// Package dev is "fenceline dev".
package dev

import (
	"context"
	"fmt"
	"io"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/devserver"
)

func NewCommand(*app.Globals) *cobra.Command {
	var (
		cfg       devserver.Config
		ephemeral bool
		stdinEOF  bool
	)
	cmd := &cobra.Command{
		Use:   "dev [flags] [-- COMMAND [ARG...]]",
		Short: "Run an etcd for development",
		Long: `Run an etcd for development, in this process, until it is interrupted.

When it is ready it prints the endpoint for clients on stdout: one line, nothing else. With a COMMAND it runs that
instead, with FENCELINE_ENDPOINTS and ETCDCTL_ENDPOINTS in its environment, passes signals on to it, and ends with it.

It is a single member with fast ticks and without authentication: not for production.

Exit codes: 0 after an interrupt; 64 for a wrong command line; 69 when the etcd cannot be started or fails; with
COMMAND its own, 128 plus the signal that killed it, 126 if it cannot be run, 127 if it is not found.`,
		Example: `  fenceline dev
  fenceline dev --listen 127.0.0.1:0 -- sh -c 'fenceline lock nightly -- date'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := connectsToNothing(cmd.InheritedFlags()); err != nil {
				return err
			}
			if ephemeral && cfg.DataDir != "" {
				return app.UsageErrorf("--ephemeral and --data-dir exclude each other")
			}
			if err := devserver.CheckListen(cfg.Listen); err != nil {
				return app.UsageErrorf("--listen %s: %w", cfg.Listen, err)
			}
			if stdinEOF && len(args) > 0 {
				return app.UsageErrorf("--stdin-eof: stdin is for the COMMAND")
			}
			if (cfg.CertFile == "") != (cfg.KeyFile == "") {
				return app.UsageErrorf("--cert-file and --key-file need each other")
			}
			cfg.Log = cmd.ErrOrStderr()
			ctx := cmd.Context()
			if len(args) > 0 {
				return runBesideDev(ctx, cfg, args, cmd.ErrOrStderr())
			}
			if stdinEOF {
				ctx = untilEOF(ctx, cmd.InOrStdin())
			}
			return runDev(ctx, cfg, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false)
	flags.StringVar(&cfg.Listen, "listen", "127.0.0.1:2379", "`host:port` for clients; port 0 takes any free one")
	flags.StringVar(&cfg.DataDir, "data-dir", "", "keep the data in this `directory` (default: a temporary one)")
	flags.BoolVar(&ephemeral, "ephemeral", false, "remove the data at the end; the default without --data-dir")
	flags.BoolVar(&cfg.NoFsync, "no-fsync", false, "do not wait for the disk: faster, and unlike any etcd that is to be trusted")

	// For tests and benchmarks, which start members of clusters and want none to outlive them.
	flags.BoolVar(&stdinEOF, "stdin-eof", false, "end when stdin does")
	flags.StringVar(&cfg.Name, "name", "", "name of this member")
	flags.StringVar(&cfg.PeerListen, "peer-listen", "", "`host:port` for other members")
	flags.StringVar(&cfg.InitialCluster, "initial-cluster", "", "all members, as `name=http://host:port,...`")
	flags.DurationVar(&cfg.Heartbeat, "heartbeat", 10*time.Millisecond, "between heartbeats")
	flags.DurationVar(&cfg.Election, "election", 100*time.Millisecond, "without heartbeats until an election")
	flags.StringVar(&cfg.CertFile, "cert-file", "", "serve clients with TLS: certificate")
	flags.StringVar(&cfg.KeyFile, "key-file", "", "serve clients with TLS: key")
	for _, name := range []string{"stdin-eof", "name", "peer-listen", "initial-cluster", "heartbeat", "election", "cert-file", "key-file"} {
		flags.MarkHidden(name)
	}
	cmd.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		cmd.InheritedFlags().VisitAll(func(f *pflag.Flag) { f.Hidden = true }) // it connects to nothing
		cmd.Root().HelpFunc()(cmd, args)
	})
	return cmd
}

// connectsToNothing refuses flags that would be ignored. Their values in the environment are for the COMMAND.
func connectsToNothing(inherited *pflag.FlagSet) (err error) {
	inherited.VisitAll(func(f *pflag.Flag) {
		switch {
		case !f.Changed || f.Name == "help":
		case f.Name == "output":
			err = app.UsageErrorf("--%s: dev prints one line, and no listing", f.Name)
		default:
			err = app.UsageErrorf("--%s: dev connects to nothing, it starts an etcd of its own; see --listen", f.Name)
		}
	})
	return err
}

// runDev runs the etcd until it is interrupted, or stdin ends.
func runDev(ctx context.Context, cfg devserver.Config, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	server, err := devserver.Start(ctx, cfg)
	switch {
	case err != nil && ctx.Err() != nil:
		return &app.ExitError{Code: app.ExitSignal + int(syscall.SIGINT)}
	case err != nil:
		return app.UnavailableErrorf("%w", err)
	}
	defer server.Close()
	warn(stderr, server)
	fmt.Fprintf(stderr, "fenceline: try, elsewhere: fenceline lock --endpoints %s demo -- sleep 60\n", server.Endpoint())
	fmt.Fprintln(stdout, server.Endpoint())
	select {
	case <-ctx.Done():
		stop() // a second one ends us at once
		return nil
	case err := <-server.Failed():
		return app.UnavailableErrorf("etcd failed: %w", err)
	}
}

func warn(stderr io.Writer, server *devserver.Server) {
	fmt.Fprintf(stderr, "fenceline: an etcd for DEVELOPMENT is ready at %s; it is NOT for production\n", server.Endpoint())
}

// untilEOF ends the context when stdin ends: a pipe from the starter ends with it, however it ends.
func untilEOF(ctx context.Context, stdin io.Reader) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		io.Copy(io.Discard, stdin)
	}()
	return ctx
}
