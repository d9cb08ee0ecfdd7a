package dashboard

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/registry"
)

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
