package line

import (
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// side watches a rule's Side for those who watch the one before them, and not the line. Whatever happens there, they
// look at the line again.
type side struct {
	line   *Line
	cancel func()
}

// adjustSide opens it when somebody waits for a single key. It is closed with the view, after a while.
func (l *Line) adjustSide(t target) {
	switch {
	case l.rule.Side == "":
	case l.side == nil && t.key != "" && (t.end == "" || t.deletes) && l.place.state == queued && !time.Now().Before(l.viewAfter):
		l.side = &side{line: l}
		l.side.cancel = l.keeper.Watch().Watch(l.rule.Side, "", l.side)
	case l.view == nil && t.key == "":
		l.closeSide()
	}
}

func (l *Line) closeSide() {
	if l.side != nil {
		l.side.cancel()
		l.side = nil
	}
}

// Created, Events and Ended are called by the session's watch stream.
func (s *side) Created(int64) { s.look() } // what was before, nobody has told

func (s *side) Events([]*mvccpb.Event) { s.look() }

func (s *side) look() {
	l := s.line
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.place; l.side == s && p != nil && p.state == queued {
		p.check = true
		l.proceed()
	}
}

func (s *side) Ended(err error) {
	l := s.line
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.side == s {
		l.side = nil
		if l.view == nil {
			l.viewFailed(err)
			return
		}
		time.AfterFunc(keepWarm/50, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.adjustView()
		})
	}
}
