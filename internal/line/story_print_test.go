package line

import (
	"fmt"
)

// What a story prints: effects, in the words that its reader knows from the events.

func (s *story) say(format string, args ...any) { fmt.Fprintf(s.out, "  "+format+"\n", args...) }

// print prints effects, and the machine.
func (s *story) print(effects []effect) {
	for i := range effects {
		switch e := &effects[i]; e.do {
		case doReply:
			s.say("%s", s.replied(e.w))
		case doFinish:
			s.say("%s holds no more: %v", s.holder(e.h), e.err)
		case doDemoted:
			s.say("%s is a reader now", s.holder(e.h))
		case doSettle:
			s.say("%s's release returns %v", s.fates[e.fate], e.err)
		case doEdited:
			s.say("%s's rewrite returns %v", s.edits[e.edit], e.err)
		default:
			s.say("%s", e)
			switch e.do {
			case doSend:
				s.asked = e.req
			case doWatch:
				s.views = append(s.views, e.view)
			case doAsk:
				s.gone = e.a
			}
		}
	}
	if err := s.m.check(); err != nil {
		s.t.Errorf("after this:\n%s%v", s.out, err)
	}
	due := ""
	if at := s.m.due(); at != 0 {
		due = fmt.Sprintf("; due at %v", at)
	}
	s.say("= %s%s", s.m, due)
}

func (s *story) replied(w *waiter) string {
	for _, name := range s.names {
		if s.calls[name] != w {
			continue
		}
		switch {
		case w.hold != nil:
			return name + " holds"
		case w.again:
			return name + " is sent to another line"
		default:
			return fmt.Sprintf("%s is refused: %v", name, w.err)
		}
	}
	return "?"
}

func (s *story) holder(h *Hold) string {
	for _, name := range s.names {
		if s.calls[name].hold == h {
			return name
		}
	}
	return "?"
}
