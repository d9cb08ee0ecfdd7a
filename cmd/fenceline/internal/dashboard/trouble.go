package dashboard

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/fenceline/fenceline/inspect"
)

// trouble is one thing that somebody should look at.
type trouble struct {
	Severity string    `json:"severity"` // "critical" or "warning"
	What     string    `json:"what"`
	Of       string    `json:"of,omitempty"` // "lock orders"
	Detail   string    `json:"detail,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	Link     string    `json:"link,omitempty"` // within the pages
}

// What is long enough to be trouble.
const (
	longWait     = time.Minute
	longHold     = 10 * time.Minute
	leaderlessBy = 2 * time.Second
	mostTrouble  = 12 // of each kind
)

// troubles are sorted: the worst first, and of one kind the oldest.
func troubles(l *look, now time.Time) []trouble {
	var all []trouble
	if l.failed != nil {
		all = append(all, trouble{Severity: "critical", What: "etcd cannot be read", Detail: l.failed.Error(), Since: l.at})
	}
	if l.Snapshot == nil {
		return all
	}
	for _, d := range l.deadlocks {
		of := trouble{Severity: "critical", What: "deadlock", Detail: d.String(), Link: "graph"}
		if d.Possible {
			of.Severity, of.What = "warning", "possible deadlock"
		}
		all = append(all, of)
	}
	all = append(all, lineTroubles(l, now)...)
	for _, x := range l.lost[max(len(l.lost)-mostTrouble, 0):] {
		all = append(all, trouble{Severity: "warning", What: "hold lost", Of: id(x.Kind, x.Name), Detail: "with the session of " + x.Who, Since: x.At, Link: lineLink(x.Kind, x.Name)})
	}
	for lease, left := range l.suspects {
		all = append(all, trouble{Severity: "critical", What: "session does not renew", Of: "session " + lease, Detail: fmt.Sprintf("its lease ends in %v: it is cut off, stopped or dead", max(left, 0).Round(time.Second)), Link: "sessions#" + lease})
	}
	all = append(all, jobTroubles(l)...)
	for service, most := range l.most {
		up := 0
		for _, in := range l.Services[service] {
			if in.Status == "up" {
				up++
			}
		}
		switch {
		case up == 0 && most > 0:
			all = append(all, trouble{Severity: "critical", What: "service has no instance", Of: "service " + service, Detail: fmt.Sprintf("%d were up within the hour", most), Link: link("service", "name", service)})
		case up*2 < most:
			all = append(all, trouble{Severity: "warning", What: "service has few instances", Of: "service " + service, Detail: fmt.Sprintf("%d are up, %d were within the hour", up, most), Link: link("service", "name", service)})
		}
	}
	slices.SortStableFunc(all, func(a, b trouble) int {
		return cmp.Or(strings.Compare(a.Severity, b.Severity), cmp.Compare(a.What, b.What), a.Since.Compare(b.Since))
	})
	return all
}

func lineTroubles(l *look, now time.Time) (all []trouble) {
	var waits, holds, strangers []trouble
	for _, line := range l.Lines {
		of, at := id(line.Kind, line.Name), lineLink(line.Kind, line.Name)
		_, waiting := count(line)
		for i := range line.Entries {
			e := &line.Entries[i]
			since := e.Since()
			switch age := now.Sub(since); {
			case line.Kind == inspect.Strange || e.Lease == "" && (line.Kind == inspect.Lock || line.Kind == inspect.RWLock || line.Kind == inspect.Election || line.Kind == inspect.Semaphore):
				strangers = append(strangers, trouble{Severity: "warning", What: "entry without a lease", Of: of, Detail: e.Key + " never goes by itself", Link: at})
			case since.IsZero():
			case e.State == inspect.Waits && age >= longWait && line.Kind != inspect.Election: // candidates may wait for ever
				waits = append(waits, trouble{Severity: "warning", What: "long wait", Of: of, Detail: e.Who() + " waits", Since: since, Link: at})
			case e.State == inspect.Holds && age >= longHold && waiting > 0 && line.Kind != inspect.Election:
				holds = append(holds, trouble{Severity: "warning", What: "long hold", Of: of, Detail: fmt.Sprintf("%s holds, %d wait", e.Who(), waiting), Since: since, Link: at})
			}
		}
		if since, none := l.ownerless[of]; none && now.Sub(since) >= leaderlessBy && line.Kind != inspect.Election {
			all = append(all, trouble{Severity: "warning", What: "nobody holds", Of: of, Detail: fmt.Sprintf("%d wait", waiting), Since: since, Link: at})
		}
	}
	for name, led := range l.leaders {
		if !led {
			all = append(all, trouble{Severity: "critical", What: "no leader", Of: id(inspect.Election, name), Detail: "nobody leads", Link: lineLink(inspect.Election, name)})
		}
	}
	for _, some := range [][]trouble{waits, holds, strangers} {
		slices.SortFunc(some, func(a, b trouble) int { return a.Since.Compare(b.Since) })
		all = append(all, some[:min(len(some), mostTrouble)]...)
	}
	return all
}

func jobTroubles(l *look) (all []trouble) {
	for i := range l.Jobs {
		j := &l.Jobs[i]
		of, at := "job "+j.Name, link("job", "name", j.Name)
		add := func(severity, what, detail string, since time.Time) {
			all = append(all, trouble{Severity: severity, What: what, Of: of, Detail: detail, Since: since, Link: at})
		}
		switch {
		case j.Err != nil:
			add("critical", "job cannot be read", j.Err.Error(), time.Time{})
			continue
		case j.Overdue && j.Paused == nil:
			add("critical", "job is late", "a tick should have been run by now", j.Next)
		case len(j.Ready) == 0 && j.Paused == nil:
			add("warning", "job without a process", "nobody has it", time.Time{})
		}
		if r := j.Latest; r != nil && (r.Err != "" || r.Finished.IsZero() && r.Missed == 0) {
			detail := r.Err
			if detail == "" {
				detail = "its runner lost its claim"
			}
			add("warning", "job has failed", detail, r.Started)
		}
	}
	return all
}

// lineLink is where a line is shown.
func lineLink(kind, name string) string { return link("line", "kind", kind, "name", name) }

// link is a page with parameters. All pages are siblings, so that links hold under any prefix.
func link(page string, pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return page + "?" + v.Encode()
}
