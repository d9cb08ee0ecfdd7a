package inspect

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/internal/show"
)

// TopRow is what there is to say of a line.
type TopRow struct {
	Kind    string  `json:"kind"`
	Name    string  `json:"name"`
	Come    float64 `json:"come_per_second"`
	Gone    float64 `json:"gone_per_second"`
	Waiting int     `json:"waiting"`
	Longest float64 `json:"longest_wait_seconds"`
	Holds   int     `json:"holds"`
	Who     string  `json:"who,omitempty"` // the first holder
}

// order is one by which rows are sorted.
type order struct {
	key  byte
	Name string
	cmp  func(a, b TopRow) int
}

var Orders = []order{
	{'c', "come", func(a, b TopRow) int { return cmp.Compare(b.Come, a.Come) }},
	{'g', "gone", func(a, b TopRow) int { return cmp.Compare(b.Gone, a.Gone) }},
	{'w', "waiting", func(a, b TopRow) int { return cmp.Compare(b.Waiting, a.Waiting) }},
	{'l', "longest", func(a, b TopRow) int { return cmp.Compare(b.Longest, a.Longest) }},
	{'n', "name", func(TopRow, TopRow) int { return 0 }},
}

type TopFlags struct {
	lsFlags
	Order int
	times int
}

func NewTopCommand(g *app.Globals) *cobra.Command {
	f := &TopFlags{lsFlags: lsFlags{every: app.Seconds(2 * time.Second)}}
	sort := "waiting"
	cmd := &cobra.Command{
		Use:                   "top [flags] [KIND]",
		DisableFlagsInUseLine: true,
		Short:                 "Show live where there is contention",
		Long: `Show live, by name, how much goes on and who waits, until it is interrupted.

  COME/S   entries that came into the line in the last while, a second: calls that went to etcd
  GONE/S   entries that left it: given back, given up, or lost
  WAITING  how many wait
  LONGEST  how long the first of these has waited; - for less than a second
  HOLDS    how many hold
  WHO      the first of these

What a process hands on from one of its goroutines to the next costs etcd nothing, and is not seen here.

On a terminal a key sorts: c come, g gone, w waiting, l longest, n name; q ends. Elsewhere it prints a table each time, or with -o json
a line.

Exit codes: 0; 64 wrong command line; 69 etcd cannot be reached, or refuses.`,
		Example: `  fenceline top
  fenceline top lock --sort longest --every 10
  fenceline top --times 2 -o json              # the second line has the rates of two seconds`,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.Order = slices.IndexFunc(Orders, func(o order) bool { return o.Name == sort })
			switch {
			case len(args) > 1:
				return app.UsageErrorf("%q: one KIND at most", args[1])
			case f.Order < 0:
				return app.UsageErrorf("--sort %q: it is none of come, gone, waiting, longest, name", sort)
			case f.times < 0:
				return app.UsageErrorf("--times: it must not be negative")
			}
			if err := f.parse(args); err != nil {
				return err
			}
			return f.run(cmd.Context(), g, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&f.Namespace, "namespace", app.DefaultNamespace, "`prefix` of all keys")
	cmd.Flags().StringVar(&f.match, "match", "", "only names that match this `pattern`: * is anything, ? one character")
	cmd.Flags().Var(&f.every, "every", "look every so many `seconds`")
	cmd.Flags().IntVar(&f.times, "times", 0, "end after so many looks; 0: go on")
	cmd.Flags().StringVar(&sort, "sort", sort, "sort by this `column`: come, gone, waiting, longest or name")
	return cmd
}

func (f *TopFlags) run(ctx context.Context, g *app.Globals, stdin io.Reader, stdout, stderr io.Writer) error {
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
	looks := make(chan *inspect.Traffic)
	failed := make(chan error)
	go func() {
		defer close(looks)
		for t, err := range inspect.Follow(ctx, client, time.Duration(f.every), f.options()...) {
			select {
			case <-ctx.Done():
				return
			case failed <- err:
				if err != nil {
					continue
				}
			}
			select {
			case looks <- t:
			case <-ctx.Done():
				return
			}
		}
	}()
	typed, undo := keysOf(stdin, stdout)
	defer undo()
	say := app.Talk(stderr, "fenceline: ")
	var last *inspect.Traffic
	for n := 0; ; {
		select {
		case err := <-failed:
			switch {
			case err != nil && last == nil:
				return app.Answered(err)
			case err != nil:
				say("waiting for etcd: %v", err)
			}
			continue
		case t, open := <-looks:
			if !open {
				return nil
			}
			last = t
			n++
		case key := <-typed:
			i := slices.IndexFunc(Orders, func(o order) bool { return o.key == key })
			switch {
			case key == 'q':
				return nil
			case i < 0 || last == nil:
				continue
			}
			f.Order = i
		case <-ctx.Done():
			return nil
		}
		if err := f.draw(g, stdout, last); err != nil {
			return err
		}
		if f.times > 0 && n >= f.times {
			return nil
		}
	}
}

func (f *TopFlags) draw(g *app.Globals, stdout io.Writer, t *inspect.Traffic) error {
	rows := f.Rows(t)
	if g.Output == app.OutputJSON {
		return json.NewEncoder(stdout).Encode(map[string]any{"revision": t.Revision, "over_seconds": rounded(t.Over.Seconds()), "lines": rows})
	}
	to := app.CanvasOf(stdout)
	holds, waits := 0, 0
	table := &app.Table{Header: []string{"KIND", "NAME", "COME/S", "GONE/S", "WAITING", "LONGEST", "HOLDS", "WHO"}}
	for _, r := range rows {
		holds, waits = holds+r.Holds, waits+r.Waiting
		table.Add(r.Kind, show.Printable(r.Name), rate(r.Come, t.Over), rate(r.Gone, t.Over), fmt.Sprint(r.Waiting), span(r.Longest), fmt.Sprint(r.Holds), cmp.Or(show.Printable(r.Who), "-"))
	}
	if to.Screen != nil {
		fmt.Fprintf(to, "%d names, %d hold, %d wait; %d sessions; by %s (keys: c g w l n, q)\n", len(rows), holds, waits, len(t.Sessions), Orders[f.Order].Name)
	}
	if err := table.Write(to); err != nil {
		return err
	}
	return to.Show(stdout)
}

func (f *TopFlags) Rows(t *inspect.Traffic) []TopRow {
	rows := []TopRow{}
	per := max(t.Over.Seconds(), 1e-9)
	for _, l := range t.Lines {
		if !app.Matches(f.match, l.Name) || l.Kind == inspect.Strange {
			continue
		}
		r := TopRow{Kind: l.Kind, Name: l.Name}
		if t.Over > 0 {
			r.Come, r.Gone = rounded(float64(l.Come)/per), rounded(float64(l.Gone)/per)
		}
		waiting, since := l.Waiting()
		if r.Waiting = waiting; !since.IsZero() {
			r.Longest = rounded(max(time.Since(since).Seconds(), 0))
		}
		for i := range l.Entries {
			if e := &l.Entries[i]; e.State != inspect.Waits {
				if r.Holds++; r.Who == "" {
					r.Who = e.Who()
				}
			}
		}
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b TopRow) int {
		return cmp.Or(Orders[f.Order].cmp(a, b), strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	return rows
}

func rounded(x float64) float64 { return math.Round(x*100) / 100 }

// rate is in words; of the first look there is none.
func rate(perSecond float64, over time.Duration) string {
	if over == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", perSecond)
}

func span(s float64) string {
	if s < 1 {
		return "-"
	}
	return time.Duration(s * float64(time.Second)).Round(time.Second).String()
}

// keysOf are the keys that are typed on a terminal. Elsewhere there are none.
func keysOf(stdin io.Reader, stdout io.Writer) (typed <-chan byte, undo func()) {
	f, ok := stdin.(*os.File)
	if !ok || !app.IsTerminal(stdin) || !app.IsTerminal(stdout) {
		return nil, func() {}
	}
	undo, err := app.SingleKeys(int(f.Fd()))
	if err != nil {
		return nil, func() {}
	}
	keys := make(chan byte)
	go func() { // it ends with the process: a read of a terminal cannot be taken back
		var one [1]byte
		for {
			if n, err := f.Read(one[:]); n != 1 || err != nil {
				return
			}
			keys <- one[0]
		}
	}()
	return keys, undo
}
