package dashboard

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/fenceline/fenceline/cron"
)

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
