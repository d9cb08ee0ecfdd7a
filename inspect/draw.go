package inspect

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/queue"
	"github.com/fenceline/fenceline/internal/show"
	"github.com/fenceline/fenceline/internal/since"
)

// String is a table: a row for each entry, in order, under a header. Jobs and services that were read follow in tables of their own. What a
// terminal could take for a command is quoted.
func (s *Snapshot) String() string {
	var b strings.Builder
	header, rows := s.Table()
	tabulate(&b, header, rows)
	if len(s.Jobs) > 0 {
		tabulate(&b, []string{"JOB", "SCHEDULE", "LAST", "NEXT", "STATE"}, s.jobs())
	}
	if len(s.Services) > 0 {
		tabulate(&b, []string{"SERVICE", "INSTANCE", "ADDR", "STATUS"}, s.instances())
	}
	return b.String()
}

func tabulate(b *strings.Builder, header []string, rows [][]string) {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{header}, rows...) {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	_ = w.Flush() // a Builder takes everything
}

func (s *Snapshot) jobs() (rows [][]string) {
	for _, j := range s.Jobs {
		state := "waits"
		switch {
		case j.Err != nil:
			state = show.Printable(j.Err.Error())
		case j.Paused != nil:
			state = "paused"
		case j.Running > 0:
			state = "runs"
		case j.Overdue:
			state = "overdue"
		}
		rows = append(rows, []string{show.Printable(j.Name), cmp.Or(show.Printable(j.Schedule), "-"), cmp.Or(timeText(j.Last), "-"), cmp.Or(timeText(j.Next), "-"), state})
	}
	return rows
}

func (s *Snapshot) instances() (rows [][]string) {
	for _, service := range slices.Sorted(maps.Keys(s.Services)) {
		for _, in := range s.Services[service] {
			rows = append(rows, []string{show.Printable(service), show.Printable(in.ID), show.Printable(in.Addr), string(in.Status)})
		}
	}
	return rows
}

// column is one of a table.
type column struct {
	name     string
	cell     func(l *Line, e *Entry) string
	optional bool // left out if it would be empty
}

var (
	upToState = []column{
		{"KIND", func(l *Line, _ *Entry) string { return l.Kind }, false},
		{"NAME", func(l *Line, _ *Entry) string { return l.Name }, false},
		{"POS", func(_ *Line, e *Entry) string { return strconv.Itoa(e.Position) }, false},
		{"MODE", func(_ *Line, e *Entry) string { return e.Mode }, true},
		{"UNITS", func(l *Line, e *Entry) string { return l.share(e) }, true},
		{"PRIORITY", func(_ *Line, e *Entry) string { return priority(e) }, true},
		{"STATE", func(_ *Line, e *Entry) string { return e.state() }, false},
	}
	sinceThen   = column{"SINCE", func(_ *Line, e *Entry) string { return timeText(e.Since()) }, false}
	waitsSince  = column{"WAITS SINCE", func(_ *Line, e *Entry) string { return timeText(e.Waits) }, false}
	holdsSince  = column{"HOLDS SINCE", func(_ *Line, e *Entry) string { return timeText(e.Holds) }, false}
	fromTokenOn = []column{
		{"TOKEN", func(_ *Line, e *Entry) string { return e.Token.String() }, false},
		{"WHO", func(_ *Line, e *Entry) string { return e.Who() }, false},
		{"OWNER", func(_ *Line, e *Entry) string { return e.named() }, true},
		{"VALUE", func(_ *Line, e *Entry) string { return e.value() }, true},
	}
	wholeKey = column{"KEY", func(_ *Line, e *Entry) string { return e.Key }, false}
)

// Table is what String says, in cells. Columns that would be empty are left out.
func (s *Snapshot) Table() (header []string, rows [][]string) {
	return s.table(slices.Concat(upToState, []column{sinceThen}, fromTokenOn))
}

// Wide is Table with both times, what is left of each lease (see LeasesLeft), and the keys.
func (s *Snapshot) Wide(left map[clientv3.LeaseID]time.Duration) (header []string, rows [][]string) {
	lease := column{"LEASE LEFT", func(_ *Line, e *Entry) string { return leftText(e, left) }, false}
	return s.table(slices.Concat(upToState, []column{waitsSince, holdsSince, lease}, fromTokenOn, []column{wholeKey}))
}

func leftText(e *Entry, left map[clientv3.LeaseID]time.Duration) string {
	d, known := left[e.lease]
	switch {
	case e.lease == clientv3.NoLease:
		return "no lease"
	case !known:
		return ""
	case d < 0:
		return "gone"
	}
	return d.String()
}

func (s *Snapshot) table(columns []column) (header []string, rows [][]string) {
	for _, l := range s.Lines {
		rows = append(rows, make([][]string, len(l.Entries))...)
	}
	for _, column := range columns {
		var cells []string
		empty := true
		for _, l := range s.Lines {
			for i := range l.Entries {
				cell := column.cell(l, &l.Entries[i])
				empty = empty && cell == ""
				cells = append(cells, cmp.Or(show.Printable(cell), "-"))
			}
		}
		if column.optional && empty {
			continue
		}
		header = append(header, column.name)
		for i, cell := range cells {
			rows[i] = append(rows[i], cell)
		}
	}
	return header, rows
}

// named is the owner, if somebody has given it a name.
func (e *Entry) named() string {
	if strings.HasPrefix(e.Owner, since.Unnamed) {
		return ""
	}
	return e.Owner
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Truncate(time.Second).Format(time.RFC3339)
}

// share is what an entry has or wants of a semaphore, in words.
func (l *Line) share(e *Entry) string {
	switch {
	case e.Units == 0:
		return ""
	case l.Limit == 0:
		return strconv.FormatInt(e.Units, 10)
	}
	return fmt.Sprintf("%d of %d", e.Units, l.Limit)
}

func priority(e *Entry) string {
	if e.Priority == 0 {
		return ""
	}
	return strconv.Itoa(e.Priority)
}

func (e *Entry) state() string {
	switch {
	case e.State == Released && e.KeptUntil != nil:
		return "released, kept until " + e.KeptUntil.Format(time.RFC3339)
	case e.State == Released:
		return "released, kept for a while"
	}
	return e.State
}

// value is what the entry says beyond its mode.
func (e *Entry) value() string {
	if e.Value == e.Mode || e.Units > 0 || queue.SetOf(queue.Entry{Key: e.Key, Value: []byte(e.Value)}) != nil {
		return ""
	}
	return show.Shorten(e.Value)
}

// Who is the process as its session calls it, or what there is to know of an unknown one.
func (e *Entry) Who() string {
	s := e.Session
	if e.nobodys {
		return ""
	}
	if s == nil && e.parked {
		return "its session has ended"
	}
	if s == nil {
		text := "unknown, no lease"
		if e.Lease != "" {
			text = "unknown, lease " + e.Lease
		}
		if e.foreign {
			text += ", key " + e.Key
		}
		return text
	}
	text := s.Name
	if s.Host != "" {
		text += "@" + s.Host
	}
	text += fmt.Sprintf(" pid %d", s.PID)
	for _, label := range slices.Sorted(maps.Keys(s.Labels)) {
		text += fmt.Sprintf(" %s=%s", label, s.Labels[label])
	}
	return text
}
