package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/internal/show"
	"github.com/fenceline/fenceline/registry"
)

// OutputPrometheus is what -o of this command may be besides.
const OutputPrometheus app.OutputFormat = "prometheus-sd"

// servicesOutput is the value of -o, of this command.
type servicesOutput struct{ format *app.OutputFormat }

func (o servicesOutput) String() string {
	if o.format == nil {
		return ""
	}
	return o.format.String()
}
func (servicesOutput) Type() string { return "format" }

func (o servicesOutput) Set(text string) error {
	if app.OutputFormat(text) == OutputPrometheus {
		*o.format = OutputPrometheus
		return nil
	}
	if o.format.Set(text) != nil {
		return fmt.Errorf("%q is none of table, json, prometheus-sd", text)
	}
	return nil
}

type servicesFlags struct {
	service string // empty: all
	prefix  string
	watch   bool
	file    string // for Prometheus, instead of stdout
	serve   string // where
}

func NewServicesCommand(g *app.Globals) *cobra.Command {
	f := &servicesFlags{}
	cmd := &cobra.Command{
		Use:                   "services [flags] [SERVICE]",
		DisableFlagsInUseLine: true,
		Short:                 "Show who offers a service",
		Long: `Show the instances of SERVICE, or of all services: those that "fenceline register" and package registry have registered,
and what others have put there: in the form of etcd's naming package, with host:port as the value, or with any value under such
an ID. A role that may read one service is enough to show that one.

With --watch, each change is a line, until it is interrupted: + has come, - has gone, ~ has changed. With -o json each line
is then a document with all there is: {"time":…,"services":{"web":[…]}}.

-o prometheus-sd is what Prometheus reads. --file writes it to a file, as a whole or not at all, for file_sd_configs; with --watch it
is written anew at each change. --serve answers Prometheus's http_sd_configs: / has all services, /SERVICE one; while etcd is
away it serves what was there last, and /healthz says so.

Exit codes:
  0   also when nobody offers it
  64  wrong command line
  69  etcd cannot be reached at the start, or refuses; later, an etcd that is away is waited for`,
		Example: `  fenceline services
  fenceline services web --watch
  fenceline services --watch --file /etc/prometheus/targets.json
  fenceline services --serve 127.0.0.1:9099`,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return g.LiveNames(cmd.Context(), "", strings.TrimSuffix(f.prefix, "/"), typed), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.parse(g, args); err != nil {
				return err
			}
			return f.run(cmd.Context(), g, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&f.prefix, "prefix", defaultServices, "`prefix` under which services stand in etcd")
	cmd.Flags().BoolVar(&f.watch, "watch", false, "show each change")
	cmd.Flags().StringVar(&f.file, "file", "", "write what Prometheus reads to this `file`")
	cmd.Flags().StringVar(&f.serve, "serve", "", "serve it over HTTP at this `host:port`, until interrupted")
	cmd.Flags().VarP(servicesOutput{&g.Output}, "output", "o", "`format` of what is printed: table, json or prometheus-sd")
	return cmd
}

func (f *servicesFlags) parse(g *app.Globals, args []string) error {
	switch {
	case len(args) > 1:
		return app.UsageErrorf("%q: one SERVICE at most", args[1])
	case f.prefix == "":
		return app.UsageErrorf("--prefix: it is empty")
	case f.serve != "" && (f.watch || f.file != ""):
		return app.UsageErrorf("--serve: it is instead of --watch and --file")
	case (f.serve != "" || f.file != "") && g.Output == app.OutputJSON:
		return app.UsageErrorf("-o json: --file and --serve are for Prometheus, whose format is its own")
	case f.watch && f.file == "" && g.Output == OutputPrometheus:
		return app.UsageErrorf("--watch: Prometheus wants one document; --file writes it anew at each change")
	}
	if len(args) == 1 {
		f.service = args[0]
		if err := registry.Check(f.service, registry.Instance{Addr: "localhost:1"}); err != nil {
			return app.UsageErrorf("%w", err)
		}
	}
	return nil
}

func (f *servicesFlags) run(ctx context.Context, g *app.Globals, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	client, err := g.Connect(ctx)
	if err == nil {
		defer client.Close()
		err = g.Ping(ctx, client)
	}
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	case f.serve != "":
		return f.serveTargets(ctx, client, app.Talk(stderr, "fenceline: "))
	case f.watch:
		return f.follow(ctx, g, client, stdout, app.Talk(stderr, "fenceline: "))
	}
	ctx, cancel := context.WithTimeout(ctx, g.Connection.CommandTimeout)
	defer cancel()
	left := &leftOut{}
	all, err := f.lookup(ctx, client, registry.WithPrefix(f.prefix), registry.WithLogger(slog.New(left)))
	if err != nil {
		return app.UnavailableErrorf("%w", err)
	}
	left.tell(stderr)
	if f.file != "" {
		return writeTargets(f.file, all)
	}
	return f.print(g, stdout, all)
}

// lookup reads no more than is asked for: a role may allow no more.
func (f *servicesFlags) lookup(ctx context.Context, client *clientv3.Client, opts ...registry.ReadOption) (map[string][]registry.Instance, error) {
	if f.service == "" {
		return registry.LookupAll(ctx, client, opts...)
	}
	ins, err := registry.Lookup(ctx, client, f.service, opts...)
	return map[string][]registry.Instance{f.service: ins}, err
}

// changes are all sets, one after the other, of what is asked for.
func (f *servicesFlags) changes(ctx context.Context, client *clientv3.Client, opts ...registry.WatchOption) iter.Seq2[map[string][]registry.Instance, error] {
	if f.service == "" {
		return registry.WatchAll(ctx, client, opts...)
	}
	return func(yield func(map[string][]registry.Instance, error) bool) {
		for ins, err := range registry.Watch(ctx, client, f.service, opts...) {
			if !yield(map[string][]registry.Instance{f.service: ins}, err) {
				return
			}
		}
	}
}

// leftOut hears of entries that are none of an instance.
type leftOut struct {
	mu    sync.Mutex
	n     int
	first string
}

func (l *leftOut) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }
func (l *leftOut) WithAttrs([]slog.Attr) slog.Handler               { return l }
func (l *leftOut) WithGroup(string) slog.Handler                    { return l }

func (l *leftOut) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n++; l.n > 1 {
		return nil
	}
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "key":
			l.first = show.Printable(strconv.Quote(a.Value.String()))
		case "error":
			l.first += ": " + show.Printable(a.Value.String())
		}
		return true
	})
	return nil
}

func (l *leftOut) tell(w io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.n == 1:
		fmt.Fprintf(w, "fenceline: 1 entry is of no instance, and left out: %s\n", l.first)
	case l.n > 1:
		fmt.Fprintf(w, "fenceline: %d entries are of no instance, and left out, such as %s\n", l.n, l.first)
	}
}

// follow shows changes, through troubles of which each is said once. A refusal at the start is the end.
func (f *servicesFlags) follow(ctx context.Context, g *app.Globals, client *clientv3.Client, stdout io.Writer, say func(string, ...any)) error {
	w := &servicesWriter{w: stdout, json: g.Output == app.OutputJSON}
	var away atomic.Bool
	opts := []registry.WatchOption{registry.WithPrefix(f.prefix), registry.WithTroubleFunc(func(err error) {
		if !away.Swap(true) {
			say("waiting for etcd: %v", err)
		}
	})}
	started := false
	for all, err := range f.changes(ctx, client, opts...) {
		switch {
		case err != nil && !started:
			return app.UnavailableErrorf("%w", err)
		case err != nil:
			continue // it was said, as any trouble
		case away.Swap(false):
			say("etcd is back")
		}
		started = true
		if f.file != "" {
			err = writeTargets(f.file, all)
		} else {
			err = w.write(all)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *servicesFlags) print(g *app.Globals, w io.Writer, all map[string][]registry.Instance) error {
	switch g.Output {
	case OutputPrometheus:
		return encodeTargets(w, all)
	case app.OutputJSON:
		return g.Print(w, map[string]any{"services": shownServices(all)}, nil)
	}
	return servicesTable(all).Write(w)
}

// ShownInstance is an instance in JSON.
type ShownInstance struct {
	ID      string            `json:"id"`
	Addr    string            `json:"addr"`
	Status  registry.Status   `json:"status"`
	Weight  int               `json:"weight"`
	Zone    string            `json:"zone,omitempty"`
	Version string            `json:"version,omitempty"`
	Meta    map[string]string `json:"meta,omitempty"`
}

func shownServices(all map[string][]registry.Instance) map[string][]ShownInstance {
	shown := map[string][]ShownInstance{}
	for service, ins := range all {
		shown[service] = make([]ShownInstance, len(ins))
		for i, in := range ins {
			shown[service][i] = ShownInstance(in)
		}
	}
	return shown
}

// servicesTable leaves out columns that would be empty.
func servicesTable(all map[string][]registry.Instance) *app.Table {
	t := &app.Table{}
	for _, column := range instanceColumns {
		var cells []string
		empty := true
		for _, service := range slices.Sorted(maps.Keys(all)) {
			for _, in := range all[service] {
				cell := column.cell(service, in)
				empty = empty && cell == ""
				cells = append(cells, cmp.Or(show.Printable(cell), "-"))
			}
		}
		if !column.optional || !empty {
			t.AddColumn(column.name, cells)
		}
	}
	return t
}

var instanceColumns = []struct {
	name     string
	cell     func(service string, in registry.Instance) string
	optional bool
}{
	{"SERVICE", func(s string, _ registry.Instance) string { return s }, false},
	{"ID", func(_ string, in registry.Instance) string { return in.ID }, false},
	{"ADDR", func(_ string, in registry.Instance) string { return in.Addr }, false},
	{"STATUS", func(_ string, in registry.Instance) string { return string(in.Status) }, false},
	{"WEIGHT", func(_ string, in registry.Instance) string { return strconv.Itoa(in.Weight) }, false},
	{"ZONE", func(_ string, in registry.Instance) string { return in.Zone }, true},
	{"VERSION", func(_ string, in registry.Instance) string { return in.Version }, true},
	{"META", func(_ string, in registry.Instance) string { return metaText(in.Meta) }, true},
}

func metaText(meta map[string]string) string {
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(meta)) {
		pairs = append(pairs, k+"="+meta[k])
	}
	return show.Shorten(strings.Join(pairs, " "))
}

// servicesWriter writes what has changed.
type servicesWriter struct {
	w    io.Writer
	json bool
	last map[string]registry.Instance // by service and ID
}

func (w *servicesWriter) write(all map[string][]registry.Instance) error {
	now := time.Now().UTC()
	if w.json {
		return json.NewEncoder(w.w).Encode(struct {
			Time     time.Time                  `json:"time"`
			Services map[string][]ShownInstance `json:"services"`
		}{now, shownServices(all)})
	}
	next := map[string]registry.Instance{}
	var lines []string
	for service, ins := range all {
		for _, in := range ins {
			key := service + "/" + in.ID
			next[key] = in
			if old, ok := w.last[key]; !ok || !old.Equal(in) {
				sign := "+"
				if ok {
					sign = "~"
				}
				lines = append(lines, changeLine(now, sign, key, in))
			}
		}
	}
	for key, in := range w.last {
		if _, ok := next[key]; !ok {
			lines = append(lines, changeLine(now, "-", key, in))
		}
	}
	slices.Sort(lines)
	w.last = next
	for _, line := range lines {
		if _, err := fmt.Fprintln(w.w, line); err != nil {
			return err
		}
	}
	return nil
}

func changeLine(now time.Time, sign, key string, in registry.Instance) string {
	text := fmt.Sprintf("%s  %s  %-32s  %-21s  %-8s", now.Format(time.RFC3339), sign, show.Printable(key), show.Printable(in.Addr), show.Printable(string(in.Status)))
	for _, part := range []string{in.Zone, in.Version, metaText(in.Meta)} {
		if part != "" {
			text += "  " + show.Printable(part)
		}
	}
	return text
}
