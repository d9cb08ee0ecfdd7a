package dashboard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/fenceline/fenceline/cron"
	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/inspect"
)

// action is something that may be done, if --allow-actions says so. The page that asks shows what will be compared; the answer carries it.
type action struct {
	Do       string
	Kind     string
	Name     string
	Token    string // of the hold
	Who      string // who holds it
	Question string
	Compares string
	After    string
	Reason   bool // one has to be given
	Back     string
}

var errNotNow = errors.New("that is not so any more")

// actionOf checks what is asked for against what is there.
func (s *server) actionOf(l *look, r *http.Request) (*action, error) {
	a := &action{Do: r.FormValue("do"), Kind: r.FormValue("kind"), Name: r.FormValue("name"), Token: r.FormValue("token")}
	switch a.Do {
	case "release", "break":
		return s.holdAction(l, a)
	case "pause", "resume", "run":
		a.Kind, a.Back = "job", link("job", "name", a.Name)
		for i := range l.Jobs {
			if l.Jobs[i].Name == a.Name {
				return a, jobAction(a, &l.Jobs[i])
			}
		}
		return nil, fmt.Errorf("%w: job %q", errNoPage, a.Name)
	}
	return nil, fmt.Errorf("%w: an action %q", errNoPage, a.Do)
}

func (s *server) holdAction(l *look, a *action) (*action, error) {
	a.Back, a.Reason = lineLink(a.Kind, a.Name), true
	line := l.Line(a.Kind, a.Name)
	if line == nil {
		return nil, fmt.Errorf("%w: %s %q has nobody in it", errNotNow, a.Kind, a.Name)
	}
	for i := range line.Entries {
		e := &line.Entries[i]
		if e.Token.String() != a.Token || e.State != inspect.Holds {
			continue
		}
		a.Who = e.Who()
		a.Compares = fmt.Sprintf("the entry %s still has create revision %d, which is token %s", e.Key, e.Token.Revision(), a.Token)
		if a.Do == "release" {
			a.Question = fmt.Sprintf("Ask %s to give back %s %q?", a.Who, a.Kind, a.Name)
			a.After = "Its process is told, and does about it what it likes. Nothing else happens."
		} else {
			a.Question = fmt.Sprintf("Break the hold of %s on %s %q?", a.Who, a.Kind, a.Name)
			a.After = "Its entry is deleted, and the next one enters. A process that is cut off hears of it only when it comes back: until then what it runs may go on."
		}
		return a, nil
	}
	return nil, fmt.Errorf("%w: nobody holds %s %q with token %s", errNotNow, a.Kind, a.Name, a.Token)
}

func jobAction(a *action, j *cron.Job) error {
	a.Compares = "the job's record has not been written by anybody else meanwhile; if it was, this is tried on the new one"
	switch a.Do {
	case "pause":
		if j.Paused != nil {
			return fmt.Errorf("%w: job %q is paused already", errNotNow, j.Name)
		}
		a.Question, a.After = fmt.Sprintf("Pause job %q?", j.Name), "No tick of it begins until it is resumed. A run that is under way goes on."
	case "resume":
		if j.Paused == nil {
			return fmt.Errorf("%w: job %q is not paused", errNotNow, j.Name)
		}
		a.Question, a.After = fmt.Sprintf("Resume job %q?", j.Name), "Its ticks begin again. It was paused by "+j.Paused.By+"."
	case "run":
		a.Question, a.After = fmt.Sprintf("Run job %q now?", j.Name), "One of the processes that have it runs it once, beside its schedule."
	}
	return nil
}

// askAction shows what an action will do.
func (s *server) askAction(w http.ResponseWriter, r *http.Request) {
	l, a := s.wanted(w, r)
	if a == nil {
		return
	}
	p := s.page(r, &l, a.Question)
	p.Name, p.View = "action", a
	s.write(w, http.StatusOK, p, false)
}

func (s *server) allowed(w http.ResponseWriter, r *http.Request) bool {
	if !s.actions {
		s.fail(w, r, http.StatusForbidden, errors.New("this dashboard only shows: it was started without --allow-actions"))
	}
	return s.actions
}

// wanted is the action that a request is about, by a look made for it. nil: that was refused, and said.
func (s *server) wanted(w http.ResponseWriter, r *http.Request) (look, *action) {
	if !s.allowed(w, r) {
		return look{}, nil
	}
	l := s.mirror.fresh(r.Context())
	if l.Snapshot == nil {
		s.fail(w, r, http.StatusServiceUnavailable, errors.New("etcd was not read yet"))
		return l, nil
	}
	a, err := s.actionOf(&l, r)
	if err != nil {
		s.fail(w, r, statusOf(err), err)
		return l, nil
	}
	return l, a
}

func statusOf(err error) int {
	switch {
	case errors.Is(err, errNoPage):
		return http.StatusNotFound
	case errors.Is(err, errNotNow):
		return http.StatusConflict
	}
	return http.StatusServiceUnavailable
}

// doAction does it. A cross-origin request does not come here.
func (s *server) doAction(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		s.fail(w, r, http.StatusBadRequest, err)
		return
	}
	_, a := s.wanted(w, r)
	if a == nil {
		return
	}
	reason := strings.TrimSpace(r.FormValue("reason"))
	if a.Reason && (reason == "" || len(reason) > 500) {
		s.fail(w, r, http.StatusBadRequest, errors.New("reason: want 1 to 500 bytes: the holder is told, and the history keeps it"))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	who := whoOf(r)
	if who == "" {
		who = "dashboard"
	} else {
		who += ", by the dashboard"
	}
	if err := s.perform(ctx, a, who, reason); err != nil {
		if errors.Is(err, inspect.ErrNotThere) {
			err = fmt.Errorf("%w: %w", errNotNow, err)
		}
		s.say("%s: %s %s %q: %v", who, a.Do, a.Kind, a.Name, err)
		s.fail(w, r, statusOf(err), err)
		return
	}
	s.say("%s: %s %s %q done", who, a.Do, a.Kind, a.Name)
	select {
	case s.mirror.wake <- struct{}{}:
	default:
	}
	http.Redirect(w, r, a.Back, http.StatusSeeOther)
}

func (s *server) perform(ctx context.Context, a *action, who, reason string) error {
	of := inspect.WithNamespace(s.namespace)
	switch a.Do {
	case "pause":
		return cron.PauseJob(ctx, s.client, a.Name, cron.WithNamespace(s.namespace))
	case "resume":
		return cron.ResumeJob(ctx, s.client, a.Name, cron.WithNamespace(s.namespace))
	case "run":
		return cron.TriggerJob(ctx, s.client, a.Name, cron.WithNamespace(s.namespace))
	}
	token, err := fence.Parse(a.Token)
	if err != nil {
		return err
	}
	if a.Do == "break" {
		return inspect.Break(ctx, s.client, a.Kind, a.Name, token, reason, of, inspect.WithActor(who))
	}
	return inspect.Ask(ctx, s.client, a.Kind, a.Name, token, reason, of, inspect.WithActor(who))
}
