// Package exporter is "fenceline exporter".
package exporter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/inspect"
)

type flags struct {
	namespace, listen, services string
	names                       []string
	every                       app.Seconds
}

// NewCommand is "fenceline exporter".
func NewCommand(g *app.Globals) *cobra.Command {
	f := &flags{every: app.Seconds(5 * time.Second)}
	cmd := &cobra.Command{
		Use:   "exporter",
		Short: "Serve metrics of all that holds and waits, for Prometheus",
		Long: `Serve metrics of all that holds and waits, for Prometheus, at http://ADDRESS/metrics: of the whole cluster, as etcd has it, so
also of processes that export nothing, and of those that use etcd's own locks in this namespace. It looks at etcd every 5 seconds
(--every), however often it is scraped; ages are computed at the scrape.

Locks, semaphores and so on are counted by kind. Those whose name matches a pattern of --names have series of their own, up to 1 000.
Elections, jobs and services always have.

deploy/prometheus/alerts.yml has rules for it.

Exit codes: 0 ended by a signal; 1 ADDRESS cannot be listened on; 64 wrong command line; 69 etcd cannot be reached, or refuses, at the
start.`,
		Example: `  fenceline exporter
  fenceline exporter --listen :8016 --names 'batch-*' --names nightly`,
		Args: app.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			say := app.Talk(cmd.ErrOrStderr(), "fenceline: ")
			return g.Listen(cmd.Context(), f.listen, func(ctx context.Context, client *clientv3.Client, l net.Listener) error {
				return f.serve(ctx, client, l, say)
			})
		},
	}
	cmd.Flags().StringVar(&f.namespace, "namespace", app.DefaultNamespace, "`prefix` of all keys")
	cmd.Flags().StringVar(&f.listen, "listen", "127.0.0.1:8016", "`address` to serve at")
	cmd.Flags().StringVar(&f.services, "services", "services/", "`prefix` of services; empty: none")
	cmd.Flags().StringArrayVar(&f.names, "names", nil, "names that match this `pattern` have series of their own: * is anything, ? one character")
	cmd.Flags().Var(&f.every, "every", "look at etcd every so many `seconds`")
	return cmd
}

func (f *flags) check() error {
	switch {
	case f.namespace == "":
		return app.UsageErrorf("--namespace: it is empty")
	case f.every < app.Seconds(100*time.Millisecond):
		return app.UsageErrorf("--every: want at least 0.1 seconds")
	}
	if _, err := app.CheckListen(f.listen); err != nil {
		return err
	}
	for _, pattern := range f.names {
		if _, err := path.Match(pattern, ""); err != nil {
			return app.UsageErrorf("--names %q: it is not a pattern: %w", pattern, err)
		}
	}
	return nil
}

// label is the name of a line if it has series of its own.
func (f *flags) label(_, name string) string {
	for _, pattern := range f.names {
		if pattern != "" && app.Matches(pattern, name) {
			return strings.ToValidUTF8(name, "?")
		}
	}
	return ""
}

func (f *flags) options() []inspect.ReadOption {
	opts := []inspect.ReadOption{inspect.WithNamespace(f.namespace)}
	if f.services != "" {
		opts = append(opts, inspect.WithServices(f.services))
	}
	return opts
}

func (f *flags) serve(ctx context.Context, client *clientv3.Client, listener net.Listener, say func(string, ...any)) error {
	c := newCollector(f.label)
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "fenceline exporter: see /metrics")
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	say("metrics at http://%s/metrics", listener.Addr())
	err := f.follow(ctx, client, c, say, served)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(err, server.Shutdown(closing))
}

// follow looks until ctx ends, the server does, or etcd refuses the first look.
func (f *flags) follow(ctx context.Context, client *clientv3.Client, c *collector, say func(string, ...any), served <-chan error) error {
	started, away := false, false
	for look, err := range inspect.Follow(ctx, client, time.Duration(f.every), f.options()...) {
		if err != nil && !started {
			return app.Answered(err)
		}
		if err != nil && !away {
			say("waiting for etcd: %v", err)
		}
		started, away = true, err != nil
		c.see(look, err)
		select {
		case err := <-served:
			return err
		default:
		}
	}
	return nil
}
