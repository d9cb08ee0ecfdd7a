// Package dashboard is "fenceline dashboard": pages that show what stands in etcd. mirror.go looks at etcd, for all browsers, and memory.go keeps
// what only several looks show; trouble.go says what somebody should look at; pages.go, lines.go, jobs.go and processes.go draw what each page shows, in
// structs that are its JSON, too; timeline.go a line's history; actions.go does what is allowed; server.go serves it all, and accounts.go says to
// whom. views are the templates, and assets what browsers load.
package dashboard

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/inspect"
)

type flags struct {
	namespace, listen, services, prefix, authFile, authHeader string
	hosts                                                     []string
	every                                                     app.Seconds
	actions, values, insecure                                 bool

	accounts *accounts
}

// NewCommand is "fenceline dashboard".
func NewCommand(g *app.Globals) *cobra.Command {
	f := &flags{every: app.Seconds(700 * time.Millisecond)}
	cmd := &cobra.Command{
		Use:   "dashboard",
		Short: "Show in a browser who holds and waits, and what is wrong",
		Long: `Show in a browser who holds and waits, and what is wrong: long waits and holds, what was lost, elections without a leader, deadlocks,
jobs that are late or fail, services with few instances; then lines with their history, elections, jobs, services, sessions, and who
waits for whom. Every page has a URL, is readable without JavaScript, and has a twin in JSON (?format=json).

It looks at etcd every 0.7 seconds (--every) while a page is open, for all browsers at once, and every ten seconds else. What was lost is
known from the looks: since the start, for an hour.

It only shows. With --allow-actions one can also ask for a hold, break it, and pause, resume or run a job: each asks first, and shows
what it compares. Values and metadata are shown with --show-values.

Beyond this machine it serves only with --auth-file (lines of name:hash, as "htpasswd -nB NAME" prints them), behind a proxy that says
in a header who looks (--auth-header; the proxy must remove what clients send in it), or with --insecure. Give the names by which
it is called with --host; addresses and localhost are known.

Exit codes: 0 ended by a signal; 1 ADDRESS cannot be listened on; 64 wrong command line; 69 etcd cannot be reached, or refuses, at the
start.`,
		Example: `  fenceline dashboard
  fenceline dashboard --listen :8017 --auth-file users --host locks.example.org
  fenceline dashboard --listen :8017 --auth-header X-Forwarded-User --prefix /locks --allow-actions`,
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
	cmd.Flags().StringVar(&f.listen, "listen", "127.0.0.1:8017", "`address` to serve at")
	cmd.Flags().StringVar(&f.services, "services", "services/", "`prefix` of services; empty: none")
	cmd.Flags().StringVar(&f.prefix, "prefix", "", "`path` under which a proxy passes requests on, if it does not remove it")
	cmd.Flags().StringArrayVar(&f.hosts, "host", nil, "`name` by which the server is called")
	cmd.Flags().StringVar(&f.authFile, "auth-file", "", "`file` of users and their passwords' bcrypt hashes")
	cmd.Flags().StringVar(&f.authHeader, "auth-header", "", "`header` in which a proxy in front says who looks")
	cmd.Flags().BoolVar(&f.insecure, "insecure", false, "serve beyond this machine to whoever asks")
	cmd.Flags().BoolVar(&f.actions, "allow-actions", false, "let who looks act, too")
	cmd.Flags().BoolVar(&f.values, "show-values", false, "show values of entries, and metadata of instances")
	cmd.Flags().Var(&f.every, "every", "look at etcd every so many `seconds` while a page is open")
	return cmd
}

func (f *flags) check() error {
	switch {
	case f.namespace == "":
		return app.UsageErrorf("--namespace: it is empty")
	case f.every < app.Seconds(100*time.Millisecond):
		return app.UsageErrorf("--every: want at least 0.1 seconds")
	case f.prefix != "" && (f.prefix[0] != '/' || strings.HasSuffix(f.prefix, "/")):
		return app.UsageErrorf("--prefix %q: want /path, without a slash at its end", f.prefix)
	case f.authFile != "" && f.authHeader != "":
		return app.UsageErrorf("--auth-file and --auth-header exclude each other")
	}
	host, err := app.CheckListen(f.listen)
	if err != nil {
		return err
	}
	if !loopback(host) && f.authFile == "" && f.authHeader == "" && !f.insecure {
		return app.UsageErrorf("--listen %q is not this machine alone: give --auth-file or --auth-header, or --insecure to serve to whoever asks", f.listen)
	}
	for i, name := range f.hosts {
		f.hosts[i] = strings.ToLower(name)
		if name == "" || strings.ContainsAny(name, ":/") {
			return app.UsageErrorf("--host %q: want a name, without port", name)
		}
	}
	if f.authFile != "" {
		text, err := os.ReadFile(f.authFile)
		if err != nil {
			return app.UsageErrorf("--auth-file: %w", err)
		}
		if f.accounts, err = parseAccounts(string(text)); err != nil {
			return app.UsageErrorf("--auth-file %s: %w", f.authFile, err)
		}
	}
	return nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

func (f *flags) serve(ctx context.Context, client *clientv3.Client, listener net.Listener, say func(string, ...any)) error {
	defer listener.Close()
	var opts []inspect.ReadOption
	if f.services != "" {
		opts = append(opts, inspect.WithServices(f.services))
	}
	m := newMirror(client, time.Duration(f.every), f.namespace, opts...)
	s := &server{client: client, mirror: m, namespace: f.namespace, values: f.values, actions: f.actions, hosts: f.hosts, auth: f.accounts, header: f.authHeader, say: say}
	looking, done := context.WithCancel(ctx)
	defer done()
	handler := s.handler()
	if f.prefix != "" {
		handler = prefixed(f.prefix, handler)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, BaseContext: func(net.Listener) context.Context { return looking }}
	served := make(chan error, 1)
	err := m.run(looking, func() {
		go func() {
			err := server.Serve(listener)
			done()
			served <- err
		}()
		say("dashboard at http://%s%s/", listener.Addr(), f.prefix)
	})
	if err != nil {
		return app.Answered(err)
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err = server.Shutdown(closing)
	if end := <-served; !errors.Is(end, http.ErrServerClosed) {
		err = errors.Join(err, end)
	}
	return err
}

// prefixed serves h under a path.
func prefixed(prefix string, h http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(prefix+"/", http.StripPrefix(prefix, h))
	mux.Handle(prefix, http.RedirectHandler(prefix+"/", http.StatusMovedPermanently))
	mux.Handle("GET /healthz", h)
	return mux
}
