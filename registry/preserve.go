package registry

import (
	"fmt"
	"slices"
	"time"
)

// preservation says when to distrust that instances have vanished: more than share of a service within window. They are
// then kept, marked as stale, for keep.
type preservation struct {
	share        float64
	window, keep time.Duration
}

// preserveFrom is how many instances a service must have had: of a few, one is a large share.
const preserveFrom = 5

func (p preservation) check() error {
	switch {
	case !(p.share >= 0 && p.share <= 1):
		return fmt.Errorf("preserve: share %v: want 0 to 1", p.share)
	case p.window <= 0 || p.keep <= 0:
		return fmt.Errorf("preserve: window %v, keep %v: want more than 0", p.window, p.keep)
	}
	return nil
}

// member is an instance as a Directory remembers it.
type member struct {
	in    Instance
	gone  time.Time // when it vanished, without having said that it leaves; zero: it is there
	stale bool      // it is shown all the same
}

// members of one service, by ID.
type members map[string]*member

func (ms members) put(in Instance) { ms[in.ID] = &member{in: in} }

// vanish is told of an entry that was deleted. Whoever was draining has left on purpose.
func (ms members) vanish(id string, now time.Time) {
	switch m := ms[id]; {
	case m == nil || !m.gone.IsZero():
	case m.in.Status == Draining:
		delete(ms, id)
	default:
		m.gone = now
	}
}

// settle forgets those who have been gone for long enough, and decides who is shown all the same. It answers when it
// should be asked again; the zero time: not before something happens.
func (ms members) settle(p preservation, now time.Time) (again time.Time) {
	present, vanished := 0, 0
	for id, m := range ms {
		switch since := now.Sub(m.gone); {
		case m.gone.IsZero():
			present++
		case since >= p.window && (!m.stale || since >= p.keep):
			delete(ms, id)
		case since < p.window:
			vanished++
		}
	}
	total := present + vanished
	distrust := total >= preserveFrom && float64(vanished) > p.share*float64(total)
	for _, m := range ms {
		if m.gone.IsZero() {
			continue
		}
		if distrust && now.Sub(m.gone) < min(p.window, p.keep) {
			m.stale = true
		}
		if m.stale && now.Sub(m.gone) >= p.keep { // kept for less than a window
			m.stale = false
		}
		next := m.gone.Add(p.window)
		if m.stale {
			next = m.gone.Add(p.keep)
		}
		if again.IsZero() || next.Before(again) {
			again = next
		}
	}
	return again
}

// entries is what is shown, sorted by ID.
func (ms members) entries() []Entry {
	entries := make([]Entry, 0, len(ms))
	for _, m := range ms {
		if m.gone.IsZero() || m.stale {
			entries = append(entries, Entry{m.in, m.stale})
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return byID(a.Instance, b.Instance) })
	return entries
}
