package dashboard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cron"
	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/registry"
)

// mostRows are shown of a list. The filter finds the rest.
const mostRows = 200

// page is what all pages have. View is what stands on this one, and its JSON twin.
type page struct {
	Title    string
	Name     string // of the template
	Rooms    []room
	Revision int64
	At       time.Time
	Failed   string
	Actions  bool
	Values   bool
	Who      string // who looks
	Twin     string // where the JSON is
	Path     string // this page, for forms and for the live update
	View     any
}

// room is an entry of the navigation.
type room struct {
	Link, Text string
	Here       bool
	Count      int
}

// errNoPage: there is no such thing. It is told with 404.
var errNoPage = errors.New("there is nothing by that name")

type view func(ctx context.Context, l *look, r *http.Request) (title string, view any, err error)

type overview struct {
	Troubles []trouble `json:"troubles"`
	Kinds    []kindRow `json:"kinds"`
	Sessions int       `json:"sessions"`
	Jobs     int       `json:"jobs"`
	Services int       `json:"services"`
}

type kindRow struct {
	Kind    string    `json:"kind"`
	Lines   int       `json:"lines"`
	Holds   int       `json:"hold"`
	Waits   int       `json:"wait"`
	Longest time.Time `json:"longest_wait_since,omitzero"`
}

func (s *server) overview(_ context.Context, l *look, _ *http.Request) (string, any, error) {
	v := overview{Troubles: troubles(l, time.Now()), Sessions: len(l.Sessions), Jobs: len(l.Jobs), Services: len(l.Services)}
	by := map[string]*kindRow{}
	for _, line := range l.Lines {
		row := by[line.Kind]
		if row == nil {
			row = &kindRow{Kind: line.Kind}
			by[line.Kind] = row
		}
		holds, waits := count(line)
		row.Lines++
		row.Holds += holds
		row.Waits += waits
		if since := firstWait(line); !since.IsZero() && (row.Longest.IsZero() || since.Before(row.Longest)) {
			row.Longest = since
		}
	}
	for _, kind := range append(inspect.Kinds(), inspect.Prefix, inspect.Strange) {
		if row := by[kind]; row != nil {
			v.Kinds = append(v.Kinds, *row)
		}
	}
	if v.Troubles == nil {
		v.Troubles = []trouble{}
	}
	return "Trouble", v, nil
}

func firstWait(line *inspect.Line) (since time.Time) {
	for i := range line.Entries {
		if e := &line.Entries[i]; e.State == inspect.Waits && !e.Waits.IsZero() && (since.IsZero() || e.Waits.Before(since)) {
			since = e.Waits
		}
	}
	return since
}

type lines struct {
	Kind, Match, State, Sort string    `json:"-"`
	Total                    int       `json:"total"`
	Lines                    []lineRow `json:"lines"`
	Kinds                    []string  `json:"-"`
}

type lineRow struct {
	Kind    string    `json:"kind"`
	Name    string    `json:"name"`
	Limit   int64     `json:"limit,omitempty"`
	Holds   int       `json:"hold"`
	Waits   int       `json:"wait"`
	Who     string    `json:"who,omitempty"` // the first holder
	Since   time.Time `json:"held_since,omitzero"`
	Longest time.Time `json:"longest_wait_since,omitzero"`
	Link    string    `json:"-"`
}

func rowOf(line *inspect.Line) lineRow {
	row := lineRow{Kind: line.Kind, Name: line.Name, Limit: line.Limit, Longest: firstWait(line), Link: lineLink(line.Kind, line.Name)}
	row.Holds, row.Waits = count(line)
	for i := range line.Entries {
		if e := &line.Entries[i]; e.State != inspect.Waits {
			row.Who, row.Since = e.Who(), e.Since()
			break
		}
	}
	return row
}

func (s *server) lines(_ context.Context, l *look, r *http.Request) (string, any, error) {
	q := r.URL.Query()
	v := lines{Kind: q.Get("kind"), Match: q.Get("match"), State: q.Get("state"), Sort: cmp.Or(q.Get("sort"), "waiting"), Lines: []lineRow{}, Kinds: inspect.Kinds()}
	if v.Kind == inspect.Election && r.URL.Path == "/elections" {
		v.Kind = ""
	}
	for _, line := range l.Lines {
		row := rowOf(line)
		if v.Kind != "" && v.Kind != row.Kind || v.Match != "" && !app.Matches("*"+v.Match+"*", row.Name) || v.State == "waits" && row.Waits == 0 || v.State == "holds" && row.Holds == 0 {
			continue
		}
		v.Lines = append(v.Lines, row)
	}
	slices.SortStableFunc(v.Lines, func(a, b lineRow) int {
		switch v.Sort {
		case "longest":
			return older(a.Longest, b.Longest)
		case "held":
			return older(a.Since, b.Since)
		case "name":
			return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Kind, b.Kind))
		}
		return cmp.Compare(b.Waits, a.Waits)
	})
	v.Total = len(v.Lines)
	v.Lines = v.Lines[:min(len(v.Lines), mostRows)]
	return "Lines", v, nil
}

// older has the earlier time first, and none at the end.
func older(a, b time.Time) int {
	switch {
	case a.IsZero() && b.IsZero():
		return 0
	case a.IsZero():
		return 1
	case b.IsZero():
		return -1
	}
	return a.Compare(b)
}

type lineView struct {
	lineRow
	Slots    []slot         `json:"-"`
	Holders  []entry        `json:"holders"`
	Waiters  []entry        `json:"waiters"`
	More     int            `json:"waiters_left_out,omitempty"`
	History  []inspect.Held `json:"history"`
	Timeline timeline       `json:"-"`
	NoPast   string         `json:"no_history,omitempty"`
}

// slot is a unit of a semaphore.
type slot struct{ Taken bool }

// mostSlots are drawn one by one.
const mostSlots = 64

// entry is one of a line, as it is shown.
type entry struct {
	Position int           `json:"position"`
	State    string        `json:"state"`
	Who      string        `json:"who"`
	Owner    string        `json:"owner,omitempty"`
	Mode     string        `json:"mode,omitempty"`
	Units    int64         `json:"units,omitempty"`
	Priority int           `json:"priority,omitempty"`
	Value    string        `json:"value,omitempty"`
	Token    string        `json:"token"`
	Lease    string        `json:"lease,omitempty"`
	Since    time.Time     `json:"since,omitzero"`
	Left     time.Duration `json:"-"`
	LeftAt   time.Time     `json:"-"`
	LeftText float64       `json:"lease_left_seconds,omitempty"`
	Count    int           `json:"readers,omitempty"` // entries of readers next to each other, that are shown as one
}

func (s *server) entryOf(l *look, e *inspect.Entry) entry {
	shown := entry{Position: e.Position, State: e.State, Who: e.Who(), Owner: e.Owner, Mode: e.Mode, Units: e.Units, Priority: e.Priority, Token: e.Token.String(), Lease: e.Lease, Since: e.Since()}
	if s.values {
		shown.Value = e.Value
	}
	if left, ok := l.left[e.LeaseID()]; ok {
		shown.Left, shown.LeftAt = left, l.leftAt
		shown.LeftText = left.Seconds()
	}
	return shown
}

func (s *server) line(ctx context.Context, l *look, r *http.Request) (string, any, error) {
	kind, name := r.URL.Query().Get("kind"), r.URL.Query().Get("name")
	v := lineView{lineRow: lineRow{Kind: kind, Name: name}, Holders: []entry{}, Waiters: []entry{}, History: []inspect.Held{}}
	found := l.Line(kind, name)
	if found != nil {
		v.lineRow = rowOf(found)
		var taken int64
		for i := range found.Entries {
			e := &found.Entries[i]
			shown := s.entryOf(l, e)
			switch {
			case e.State != inspect.Waits:
				taken += max(e.Units, 1)
				v.Holders = append(v.Holders, shown)
			case len(v.Waiters) == mostRows:
				v.More++
			case e.Mode == "read" && len(v.Waiters) > 0 && v.Waiters[len(v.Waiters)-1].Mode == "read":
				last := &v.Waiters[len(v.Waiters)-1]
				last.Count = max(last.Count, 1) + 1
			default:
				v.Waiters = append(v.Waiters, shown)
			}
		}
		if kind == inspect.Semaphore && found.Limit > 0 && found.Limit <= mostSlots {
			for i := range found.Limit {
				v.Slots = append(v.Slots, slot{i < taken})
			}
		}
	}
	held, err := inspect.History(ctx, s.client, kind, name, inspect.WithNamespace(s.namespace))
	switch {
	case err != nil:
		v.NoPast = err.Error()
	case found == nil && len(held) == 0:
		return "", nil, fmt.Errorf("%w: %s %q", errNoPage, kind, name)
	}
	if alone(kind) {
		held = inferred(held)
	}
	v.Timeline = drawTimeline(held, kind, time.Now())
	slices.Reverse(held)
	for _, h := range held[:min(len(held), 50)] {
		if !s.values {
			h.Value = ""
		}
		v.History = append(v.History, h)
	}
	return kind + " " + name, v, nil
}

type elections struct {
	Elections []electionRow `json:"elections"`
}

type electionRow struct {
	Name       string    `json:"name"`
	Leader     string    `json:"leader,omitempty"`
	Since      time.Time `json:"leads_since,omitzero"`
	Token      string    `json:"token,omitempty"`
	Candidates int       `json:"candidates"`
	Link       string    `json:"-"`
}

func (s *server) elections(_ context.Context, l *look, _ *http.Request) (string, any, error) {
	v := elections{Elections: []electionRow{}}
	seen := map[string]bool{}
	for _, line := range l.Lines {
		if line.Kind != inspect.Election {
			continue
		}
		seen[line.Name] = true
		row := electionRow{Name: line.Name, Link: lineLink(line.Kind, line.Name)}
		for i := range line.Entries {
			if e := &line.Entries[i]; e.State == inspect.Holds {
				row.Leader, row.Since, row.Token = e.Who(), e.Since(), e.Token.String()
			} else {
				row.Candidates++
			}
		}
		v.Elections = append(v.Elections, row)
	}
	for name := range l.leaders {
		if !seen[name] {
			v.Elections = append(v.Elections, electionRow{Name: name, Link: lineLink(inspect.Election, name)})
		}
	}
	slices.SortStableFunc(v.Elections, func(a, b electionRow) int {
		if (a.Leader == "") != (b.Leader == "") { // those without one first
			if a.Leader == "" {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return "Elections", v, nil
}

type jobs struct {
	Jobs []jobRow `json:"jobs"`
}

type jobRow struct {
	Name     string      `json:"name"`
	Schedule string      `json:"schedule"`
	Zone     string      `json:"zone,omitempty"`
	State    string      `json:"state"`
	Last     time.Time   `json:"last,omitzero"`
	Next     time.Time   `json:"next,omitzero"`
	Ready    []string    `json:"ready"`
	Running  int         `json:"running"`
	Waiting  int         `json:"waiting_for_another_attempt,omitempty"`
	Latest   *cron.Run   `json:"latest,omitempty"`
	Paused   *cron.Pause `json:"paused,omitempty"`
	Err      string      `json:"error,omitempty"`
	Link     string      `json:"-"`
}

func jobRowOf(j *cron.Job) jobRow {
	row := jobRow{Name: j.Name, Schedule: j.Schedule, Zone: j.Zone, Last: j.Last, Next: j.Next, Ready: j.Ready, Running: j.Running, Waiting: j.Waiting, Latest: j.Latest, Paused: j.Paused, Link: link("job", "name", j.Name)}
	switch {
	case j.Err != nil:
		row.State, row.Err = "unreadable", j.Err.Error()
	case j.Paused != nil:
		row.State = "paused"
	case j.Overdue:
		row.State = "late"
	case j.Running > 0:
		row.State = "running"
	case len(j.Ready) == 0:
		row.State = "without a process"
	case j.Latest != nil && runState(j.Latest) != "success":
		row.State = "has failed"
	default:
		row.State = "waits for its time"
	}
	return row
}

// runState is how a run ended.
func runState(r *cron.Run) string {
	switch {
	case r.Missed > 0:
		return "missed"
	case r.Finished.IsZero():
		return "lost"
	case r.Err != "":
		return "error"
	}
	return "success"
}

func (s *server) jobs(_ context.Context, l *look, _ *http.Request) (string, any, error) {
	v := jobs{Jobs: []jobRow{}}
	for i := range l.Jobs {
		v.Jobs = append(v.Jobs, jobRowOf(&l.Jobs[i]))
	}
	return "Jobs", v, nil
}

type jobView struct {
	jobRow
	Runs []runRow `json:"runs"`
}

type runRow struct {
	cron.Run
	State string  `json:"state"`
	Late  float64 `json:"late_seconds"`
	Took  float64 `json:"took_seconds,omitempty"`
}

func (s *server) job(ctx context.Context, l *look, r *http.Request) (string, any, error) {
	name := r.URL.Query().Get("name")
	i := slices.IndexFunc(l.Jobs, func(j cron.Job) bool { return j.Name == name })
	if i < 0 {
		return "", nil, fmt.Errorf("%w: job %q", errNoPage, name)
	}
	v := jobView{jobRow: jobRowOf(&l.Jobs[i]), Runs: []runRow{}}
	runs, err := cron.History(ctx, s.client, name, cron.WithNamespace(s.namespace))
	if err != nil {
		return "", nil, err
	}
	slices.SortStableFunc(runs, func(a, b cron.Run) int { return b.Scheduled.Compare(a.Scheduled) })
	for i := range runs[:min(len(runs), 50)] {
		run := runRow{Run: runs[i], State: runState(&runs[i])}
		if !run.Started.IsZero() {
			run.Late = max(run.Started.Sub(run.Scheduled).Seconds(), 0)
		}
		if !run.Finished.IsZero() && run.Missed == 0 {
			run.Took = max(run.Finished.Sub(run.Started).Seconds(), 0)
		}
		v.Runs = append(v.Runs, run)
	}
	return "job " + name, v, nil
}

type services struct {
	Services []serviceRow `json:"services"`
}

type serviceRow struct {
	Name      string              `json:"name"`
	Up        int                 `json:"up"`
	Draining  int                 `json:"draining"`
	Starting  int                 `json:"starting"`
	Most      int                 `json:"most_up_within_the_hour"`
	Instances []registry.Instance `json:"instances,omitempty"`
	Link      string              `json:"-"`
}

func serviceRowOf(l *look, name string, all []registry.Instance) serviceRow {
	row := serviceRow{Name: name, Most: l.most[name], Link: link("service", "name", name)}
	for i := range all {
		switch all[i].Status {
		case registry.Draining:
			row.Draining++
		case registry.Starting:
			row.Starting++
		default:
			row.Up++
		}
	}
	return row
}

func (s *server) services(_ context.Context, l *look, _ *http.Request) (string, any, error) {
	v := services{Services: []serviceRow{}}
	for name, all := range l.Services {
		v.Services = append(v.Services, serviceRowOf(l, name, all))
	}
	for name := range l.most {
		if l.Services[name] == nil {
			v.Services = append(v.Services, serviceRowOf(l, name, nil))
		}
	}
	slices.SortFunc(v.Services, func(a, b serviceRow) int { return strings.Compare(a.Name, b.Name) })
	return "Services", v, nil
}

func (s *server) service(_ context.Context, l *look, r *http.Request) (string, any, error) {
	name := r.URL.Query().Get("name")
	all, known := l.Services[name]
	if _, was := l.most[name]; !known && !was {
		return "", nil, fmt.Errorf("%w: service %q", errNoPage, name)
	}
	v := serviceRowOf(l, name, all)
	v.Instances = slices.Clone(all)
	if !s.values {
		for i := range v.Instances {
			v.Instances[i].Meta = nil
		}
	}
	return "service " + name, v, nil
}

type sessions struct {
	Total    int          `json:"total"`
	Sessions []sessionRow `json:"sessions"`
}

type sessionRow struct {
	Lease   string        `json:"lease"`
	Name    string        `json:"name"`
	Host    string        `json:"host,omitempty"`
	PID     int           `json:"pid"`
	Version string        `json:"version,omitempty"`
	Started time.Time     `json:"started"`
	Holds   []string      `json:"holds"`
	Waits   []string      `json:"waits"`
	State   string        `json:"state"`
	Watched bool          `json:"witness"` // what it holds is given back at once when it is dead
	Left    time.Duration `json:"-"`
}

func (s *server) sessions(_ context.Context, l *look, _ *http.Request) (string, any, error) {
	v := sessions{Sessions: []sessionRow{}, Total: len(l.Sessions)}
	for _, one := range l.Sessions {
		row := sessionRow{Lease: one.Lease, Name: one.Name, Host: one.Host, PID: one.PID, Version: one.Version, Started: one.Started, Holds: one.Holds, Waits: one.Waits, State: "live", Watched: one.Witness != ""}
		if left, suspect := l.suspects[one.Lease]; suspect {
			row.State, row.Left = "does not renew", left
		} else if one.Closing {
			row.State = "closing"
		}
		v.Sessions = append(v.Sessions, row)
	}
	slices.SortStableFunc(v.Sessions, func(a, b sessionRow) int {
		return cmp.Or(strings.Compare(a.State, b.State), cmp.Compare(len(b.Holds), len(a.Holds)))
	})
	v.Sessions = v.Sessions[:min(len(v.Sessions), mostRows)]
	return "Sessions", v, nil
}

type graph struct {
	Deadlocks []inspect.Deadlock `json:"deadlocks"`
	Waits     []edge             `json:"waits"`
	Total     int                `json:"total"`
}

// edge is that one waits for another.
type edge struct {
	Who  string `json:"who"`
	For  string `json:"for"`
	Of   string `json:"of"`
	Link string `json:"-"`
}

func (s *server) graph(_ context.Context, l *look, _ *http.Request) (string, any, error) {
	v := graph{Deadlocks: l.deadlocks, Waits: []edge{}}
	if v.Deadlocks == nil {
		v.Deadlocks = []inspect.Deadlock{}
	}
	for _, line := range l.Lines {
		holder := ""
		for i := range line.Entries {
			e := &line.Entries[i]
			if e.State != inspect.Waits {
				if holder == "" {
					holder = ownerOf(e)
				}
				continue
			}
			if holder != "" {
				v.Total++
				if len(v.Waits) < mostRows {
					v.Waits = append(v.Waits, edge{ownerOf(e), holder, id(line.Kind, line.Name), lineLink(line.Kind, line.Name)})
				}
			}
		}
	}
	return "Who waits for whom", v, nil
}

func ownerOf(e *inspect.Entry) string {
	if e.Owner != "" {
		return e.Owner + " of " + e.Who()
	}
	return e.Who()
}
