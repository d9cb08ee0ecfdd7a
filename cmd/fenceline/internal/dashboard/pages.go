package dashboard

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/fenceline/fenceline/inspect"
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
