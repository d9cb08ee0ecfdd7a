package dashboard

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/inspect"
)

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
