package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/fenceline/fenceline/registry"
)

// outputPrometheus is what -o of this command may be besides.
const outputPrometheus outputFormat = "prometheus-sd"

// servicesOutput is the value of -o, of this command.
type servicesOutput struct{ format *outputFormat }

func (o servicesOutput) String() string {
	if o.format == nil {
		return ""
	}
	return o.format.String()
}
func (servicesOutput) Type() string { return "format" }

func (o servicesOutput) Set(text string) error {
	if outputFormat(text) == outputPrometheus {
		*o.format = outputPrometheus
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
}

func newServicesCommand(g *globals) *cobra.Command {
	f := &servicesFlags{}
	cmd := &cobra.Command{
		Use:                   "services [flags] [SERVICE]",
		DisableFlagsInUseLine: true,
		Short:                 "Show who offers a service",
		Long: `Show the instances of SERVICE, or of all services: those that "fenceline register" and package registry have registered,
and what others have put there in the form of etcd's naming package.

With --watch, each change is a line, until it is interrupted: + has come, - has gone, ~ has changed. With -o json each line
is then a document with all there is: {"time":…,"services":{"web":[…]}}.

-o prometheus-sd is what Prometheus reads from file_sd_configs and http_sd_configs.

Exit codes:
  0   also when nobody offers it
  64  wrong command line
  69  etcd cannot be reached at the start, or refuses; later, an etcd that is away is waited for`,
		Example: `  fenceline services
  fenceline services web --watch
  fenceline services -o prometheus-sd > targets.json`,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return g.liveNames(cmd.Context(), "", strings.TrimSuffix(f.prefix, "/"), typed), cobra.ShellCompDirectiveNoFileComp
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
	cmd.Flags().VarP(servicesOutput{&g.output}, "output", "o", "`format` of what is printed: table, json or prometheus-sd")
	return cmd
}

func (f *servicesFlags) parse(g *globals, args []string) error {
	switch {
	case len(args) > 1:
		return usageErrorf("%q: one SERVICE at most", args[1])
	case f.prefix == "":
		return usageErrorf("--prefix: it is empty")
	case f.watch && g.output == outputPrometheus:
		return usageErrorf("--watch: Prometheus wants one document; leave out one of --watch and -o prometheus-sd")
	}
	if len(args) == 1 {
		f.service = args[0]
		if err := registry.Check(f.service, registry.Instance{Addr: "localhost:1"}); err != nil {
			return usageErrorf("%w", err)
		}
	}
	return nil
}

func (f *servicesFlags) run(ctx context.Context, g *globals, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	client, err := g.connect(ctx)
	if err == nil {
		defer client.Close()
		err = g.ping(ctx, client)
	}
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	case f.watch:
		say := talk(stderr, "fenceline: ")
		w := &servicesWriter{w: stdout, json: g.output == outputJSON}
		opts := []registry.Option{registry.At(f.prefix), registry.OnTrouble(func(err error) { say("waiting for etcd: %v", err) })}
		for all, err := range f.each(registry.WatchAll(ctx, client, opts...)) {
			if err != nil {
				return unavailableErrorf("%w", err)
			}
			if err := w.write(all); err != nil {
				return err
			}
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, g.connection.commandTimeout)
	defer cancel()
	all, err := registry.LookupAll(ctx, client, registry.At(f.prefix))
	if err != nil {
		return unavailableErrorf("%w", err)
	}
	return f.print(g, stdout, f.only(all))
}

// each leaves only the service that is meant.
func (f *servicesFlags) each(sets func(func(map[string][]registry.Instance, error) bool)) func(func(map[string][]registry.Instance, error) bool) {
	return func(yield func(map[string][]registry.Instance, error) bool) {
		for all, err := range sets {
			if !yield(f.only(all), err) {
				return
			}
		}
	}
}

func (f *servicesFlags) only(all map[string][]registry.Instance) map[string][]registry.Instance {
	if f.service == "" || all == nil {
		return all
	}
	return map[string][]registry.Instance{f.service: all[f.service]}
}

func (f *servicesFlags) print(g *globals, w io.Writer, all map[string][]registry.Instance) error {
	switch g.output {
	case outputPrometheus:
		groups := []registry.TargetGroup{}
		for _, service := range slices.Sorted(maps.Keys(all)) {
			for _, in := range all[service] {
				groups = append(groups, registry.TargetGroupOf(service, in))
			}
		}
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return enc.Encode(groups)
	case outputJSON:
		return g.print(w, map[string]any{"services": shownServices(all)}, nil)
	}
	return servicesTable(all).write(w)
}

// shownInstance is an instance in JSON.
type shownInstance struct {
	ID      string            `json:"id"`
	Addr    string            `json:"addr"`
	Status  registry.Status   `json:"status"`
	Weight  int               `json:"weight"`
	Zone    string            `json:"zone,omitempty"`
	Version string            `json:"version,omitempty"`
	Meta    map[string]string `json:"meta,omitempty"`
}

func shownServices(all map[string][]registry.Instance) map[string][]shownInstance {
	shown := map[string][]shownInstance{}
	for service, ins := range all {
		shown[service] = make([]shownInstance, len(ins))
		for i, in := range ins {
			shown[service][i] = shownInstance(in)
		}
	}
	return shown
}

// servicesTable leaves out columns that would be empty.
func servicesTable(all map[string][]registry.Instance) *table {
	t := &table{}
	for _, column := range instanceColumns {
		var cells []string
		empty := true
		for _, service := range slices.Sorted(maps.Keys(all)) {
			for _, in := range all[service] {
				cell := column.cell(service, in)
				empty = empty && cell == ""
				cells = append(cells, cmp.Or(printable(cell), "-"))
			}
		}
		if !column.optional || !empty {
			t.addColumn(column.name, cells)
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
	return shorten(strings.Join(pairs, " "))
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
			Services map[string][]shownInstance `json:"services"`
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
	text := fmt.Sprintf("%s  %s  %-32s  %-21s  %-8s", now.Format(time.RFC3339), sign, printable(key), printable(in.Addr), printable(string(in.Status)))
	for _, part := range []string{in.Zone, in.Version, metaText(in.Meta)} {
		if part != "" {
			text += "  " + printable(part)
		}
	}
	return text
}
