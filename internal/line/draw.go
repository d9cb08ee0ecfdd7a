package line

import (
	"fmt"
	"strings"
	"time"
)

// String draws the machine in one line: who waits and holds here, how far the attempt is, and what is known of the line.
func (m *machine) String() string {
	var parts []string
	if n := m.queue.Len(); n > 0 {
		parts = append(parts, fmt.Sprintf("%d waiting", n))
	}
	if a := m.attempt; a != nil {
		parts = append(parts, a.String())
	}
	if n := len(m.holds); n > 0 {
		parts = append(parts, fmt.Sprintf("%d holding", n))
	}
	if m.heir != nil {
		parts = append(parts, "heir "+m.heir.String())
	}
	if m.asking != nil {
		parts = append(parts, "asking "+m.asking.kind.String())
	}
	for i := range m.tracks {
		if v := m.tracks[i].view; v != nil {
			parts = append(parts, v.String())
		}
		for _, v := range m.tracks[i].besides {
			parts = append(parts, v.String())
		}
	}
	if m.lingerUntil > m.at.now && m.attempt != nil && len(m.holds) == 0 {
		parts = append(parts, "lingering for "+(m.lingerUntil-m.at.now).String())
	}
	if m.retryAt > m.at.now {
		parts = append(parts, "trying again in "+(m.retryAt-m.at.now).String())
	}
	if m.retired {
		parts = append(parts, "retired")
	}
	if len(parts) == 0 {
		return "idle"
	}
	return strings.Join(parts, "; ")
}

// String names the entries, the stage, and what keeps the attempt from being handed on.
func (a *attempt) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", a.stage)
	for i := range a.spots {
		s := &a.spots[i]
		fmt.Fprintf(&b, " %s", s.key)
		if a.stood {
			fmt.Fprintf(&b, "@%d", s.entry.Create)
		}
		if a.stage == queued && s.ahead.Key != "" && !s.entered {
			fmt.Fprintf(&b, " behind %s", s.ahead.Key)
		}
		for what, is := range map[string]bool{" kept": s.kept, " parked": s.parks, " ask": s.askNow} {
			if is {
				b.WriteString(what)
			}
		}
	}
	for _, f := range []struct {
		is   bool
		what string
	}{{a.unknown, " unknown"}, {a.exposed, " exposed"}, {a.edit != nil, " edited"}, {a.turns.full(), " used up"}} {
		if f.is {
			b.WriteString(f.what)
		}
	}
	return b.String()
}

// String is the range, and as of which revision it is known.
func (v *view) String() string {
	text := "watching " + v.key
	if v.whole() {
		text = "watching all of " + v.key
	}
	if v.deletes {
		text += " for departures"
	}
	switch {
	case v.beside:
	case v.ready:
		text += fmt.Sprintf(", as of %d", v.rev)
	default:
		text += ", not listed"
	}
	return text
}

// String is the effect as a transcript has it.
func (e *effect) String() string {
	switch e.do {
	case doSend:
		return "send " + e.req.String()
	case doWatch:
		return "watch " + strings.TrimPrefix(strings.TrimSuffix(e.view.String(), ", not listed"), "watching ")
	case doUnwatch:
		return "stop watching " + e.view.key
	case doList:
		return fmt.Sprintf("list %s at %d or later", e.view.key, e.revision)
	case doFree, doUnpark:
		return fmt.Sprintf("%s %s", doNames[e.do], e.a.spots[e.i].key)
	case doAbandon, doTend, doForget, doShare, doAsk, doRevoked:
		return fmt.Sprintf("%s %s", doNames[e.do], e.a.spots[0].key)
	case doRewound:
		return fmt.Sprintf("etcd is back at %d", e.revision)
	case doQueuedUp:
		return fmt.Sprintf("trace: %d ahead", e.revision)
	case doLost:
		return fmt.Sprintf("trace: lost: %v", e.err)
	case doMeet:
		return fmt.Sprintf("find out whose %s is", e.entry.Key)
	case doViewFailed:
		return fmt.Sprintf("log: watch of %s ended: %v", e.view.key, e.err)
	}
	return doNames[e.do]
}

var doNames = [...]string{doTend: "tend", doForget: "forget", doShare: "share the lease of", doFree: "free", doAbandon: "abandon", doUnpark: "delete later", doAsk: "ask what has become of",
	doRevoked: "the lease is gone of", doRecall: "recall the request", doRestart: "restart the watch stream", doRetire: "retire"}

// String says what is asked, and of what.
func (r *request) String() string {
	text := r.kind.String()
	if r.a != nil {
		text += " " + r.a.spots[r.i].key
	}
	if r.kind == askJoin && r.looks[0] >= lookSum {
		text += map[look]string{lookSum: ", counting", lookNear: ", looking at the nearest"}[r.looks[0]]
	}
	if r.old != nil {
		text += " in place of " + r.old.spots[0].key
	}
	if r.try {
		text += " if it would be first"
	}
	if r.quorum {
		text += " of the leader"
	}
	if r.nearest {
		text += ", or whether nothing has changed"
	}
	if r.kind == askLeave {
		for i := range r.a.spots {
			if s := &r.a.spots[i]; s.parks {
				text += fmt.Sprintf(", which stays for %v", s.restUntil.Round(time.Millisecond))
			}
		}
	}
	return text
}
