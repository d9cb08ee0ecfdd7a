package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// lsFlags say which lines are asked for.
type lsFlags struct {
	namespace string
	prefix    string // instead of kind and name
	kind      string // empty: all
	name      string // empty: all of the kind
}

func newLsCommand(g *globals) *cobra.Command {
	f := &lsFlags{}
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
  SINCE  when the process's session began, not when it got in line: etcd keeps no times
  VALUE  what a leader or candidate says, or an entry that is not of fenceline; of a barrier and a latch, their number.
         -o json has all of a long one

Exit codes: 0, also when nobody is there; 64 wrong command line; 69 etcd cannot be reached, or refuses.`,
		Example: `  fenceline ls
  fenceline ls lock nightly-backup -o json
  fenceline ls --prefix my/lock                # where "etcdctl lock my/lock" waits`,
		ValidArgsFunction: completeLs(g, &f.namespace),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.parse(args); err != nil {
				return err
			}
			found, err := f.read(cmd.Context(), g)
			if err != nil {
				return err
			}
			if len(found.Lines) == 0 && g.output == outputTable {
				fmt.Fprintf(cmd.ErrOrStderr(), "fenceline: nobody holds or waits under %q\n", f.prefixes()[0])
				return nil
			}
			return g.printListing(cmd.OutOrStdout(), found)
		},
	}
	cmd.Flags().StringVar(&f.namespace, "namespace", defaultNamespace, "`prefix` of all keys")
	cmd.Flags().StringVar(&f.prefix, "prefix", "", "show the line under this raw `prefix`, as etcdctl lock and lock.WithPrefix use it")
	return cmd
}

func (f *lsFlags) parse(args []string) error {
	switch {
	case len(args) > 2:
		return usageErrorf("%q: one KIND and one NAME at most", args[2])
	case f.prefix != "" && len(args) > 0:
		return usageErrorf("%q: --prefix is instead of KIND and NAME", args[0])
	case f.namespace == "":
		return usageErrorf("--namespace: it is empty")
	}
	if len(args) > 0 {
		f.kind = args[0]
		if err := checkKind(f.kind, len(args) == 1); err != nil {
			return err
		}
	}
	if len(args) > 1 {
		f.name = args[1]
		if err := keyspace.CheckName(f.kind, f.name); err != nil {
			return usageErrorf("%w", err)
		}
	}
	return nil
}

// checkKind refuses what is no kind, which may be the name of a lock.
func checkKind(kind string, alone bool) error {
	if slices.Contains(kinds, kind) {
		return nil
	}
	err := fmt.Errorf("KIND %q: it is none of %s", kind, strings.Join(kinds, ", "))
	switch {
	case kind == sessionKind:
		err = fmt.Errorf("KIND %q: nobody stands in line for a session; they are shown with what they hold", kind)
	case alone && keyspace.CheckName(lockKind, kind) == nil:
		if strings.ContainsFunc(kind, func(r rune) bool {
			return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_./:", r)
		}) {
			kind = strconv.Quote(kind)
		}
		err = fmt.Errorf("%w; did you mean \"fenceline ls lock %s\"?", err, kind)
	}
	return usageErrorf("%w", err)
}

// prefixes are the ranges of keys to read: the entries, and the sessions if those are not among them.
func (f *lsFlags) prefixes() []string {
	sessions := f.namespace + sessionKind + "/"
	switch {
	case f.prefix != "":
		return []string{f.prefix + "/", sessions}
	case f.name != "":
		return []string{keyspace.Line(f.namespace, f.kind, f.name), sessions}
	case f.kind != "":
		return []string{f.namespace + f.kind + "/", sessions}
	}
	return []string{f.namespace}
}

func (f *lsFlags) read(ctx context.Context, g *globals) (*listing, error) {
	client, err := g.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if err := g.ping(ctx, client); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, g.connection.commandTimeout)
	defer cancel()
	var ops []clientv3.Op
	for _, prefix := range f.prefixes() {
		ops = append(ops, clientv3.OpGet(prefix, clientv3.WithPrefix()))
	}
	resp, err := client.Txn(ctx).Then(ops...).Commit() // one transaction, one revision
	if err != nil {
		return nil, unavailableErrorf("%w", f.explain(client, err))
	}
	first, last := resp.Responses[0], resp.Responses[len(resp.Responses)-1]
	found := &listing{
		Revision: resp.Header.Revision,
		limits:   f.limits(first.GetResponseRange().Kvs),
		Lines:    f.lines(first.GetResponseRange().Kvs, f.sessions(last.GetResponseRange().Kvs)),
	}
	if err := f.askElsewhere(ctx, client, found); err != nil {
		return nil, unavailableErrorf("%w", f.explain(client, err))
	}
	found.askHowLong(ctx, client)
	return found, nil
}

// explain says what etcd had against reading. Which of the ranges it denies, etcd does not say.
func (f *lsFlags) explain(client *clientv3.Client, err error) error {
	if !errors.Is(err, rpctypes.ErrPermissionDenied) {
		return etcd.Explain(client, err, f.prefixes()[0])
	}
	var keys []string
	for _, prefix := range f.prefixes() {
		keys = append(keys, fmt.Sprintf("%q*", prefix))
	}
	return fmt.Errorf("%s%s: the user's role needs read on what has that prefix: %w", denies, strings.Join(keys, " or "), err)
}

// askHowLong finds out until when what was given back is kept. etcd tells the time that a lease has left only by the
// lease; who is gone by now has none left.
func (found *listing) askHowLong(ctx context.Context, client *clientv3.Client) {
	for _, l := range found.Lines {
		for i := range l.Entries {
			e := &l.Entries[i]
			if e.State != stateReleased {
				continue
			}
			resp, err := client.TimeToLive(ctx, e.lease)
			if err == nil && resp.TTL >= 0 {
				until := time.Now().Add(time.Duration(resp.TTL) * time.Second).UTC().Truncate(time.Second)
				e.KeptUntil = &until
			}
		}
	}
}

// printListing is print with everything escaped that a terminal could take for a command: names and values are other
// people's bytes.
func (g *globals) printListing(w io.Writer, found *listing) error {
	if g.output != outputJSON {
		return g.print(w, nil, draw(found))
	}
	var text bytes.Buffer
	if err := g.print(&text, found, nil); err != nil {
		return err
	}
	_, err := io.WriteString(w, printableJSON(text.String()))
	return err
}
