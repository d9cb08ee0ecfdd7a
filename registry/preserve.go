package registry

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// preservation says when to distrust that instances have vanished: more than share of a service within window. They are
// then kept, marked as stale, for keep.
type preservation struct {
	share        float64
	window, keep time.Duration
}

// preserveFrom is how many instances a service must have had: of a few, one is a large share. That all have gone is distrusted from
// two on.
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
	gone  time.Time // when it vanished, without having said that it leaves; zero: it is there
	stale bool      // it is shown all the same
	entry *Entry    // which is shared with what was shown last, and not written to
}

// members of one service, sorted by ID: a change of one of ten thousand must not sort all.
type members []*member

func (ms members) find(id string) (i int, found bool) {
	return slices.BinarySearchFunc(ms, id, func(m *member, id string) int { return strings.Compare(m.entry.ID, id) })
}

// get is nil if there is none.
func (ms members) get(id string) *member {
	if i, found := ms.find(id); found {
		return ms[i]
	}
	return nil
}

func (ms *members) put(in Instance) { ms.set(&member{entry: &Entry{Instance: in}}) }

func (ms *members) set(m *member) {
	i, found := ms.find(m.entry.ID)
	if found {
		(*ms)[i] = m
		return
	}
	*ms = slices.Insert(*ms, i, m)
}

func (ms *members) remove(id string) {
	if i, found := ms.find(id); found {
		*ms = slices.Delete(*ms, i, i+1)
	}
}

// vanish is told of an entry that was deleted. Whoever was draining has left on purpose.
func (ms *members) vanish(id string, now time.Time) {
	switch m := ms.get(id); {
	case m == nil || !m.gone.IsZero():
	case m.entry.Status == Draining:
		ms.remove(id)
	default:
		m.gone = now
	}
}

// settle forgets those who have been gone for long enough, and decides who is shown all the same. It returns when it
// should be asked again; the zero time: not before something happens.
func (ms *members) settle(p preservation, now time.Time) (again time.Time) {
	*ms = slices.DeleteFunc(*ms, func(m *member) bool {
		since := now.Sub(m.gone)
		return !m.gone.IsZero() && since >= p.window && (!m.stale || since >= p.keep)
	})
	present, vanished := 0, 0
	for _, m := range *ms {
		switch {
		case m.gone.IsZero():
			present++
		case now.Sub(m.gone) < p.window:
			vanished++
		}
	}
	total := present + vanished
	distrust := total >= preserveFrom && float64(vanished) > p.share*float64(total) || present == 0 && vanished >= 2 && p.share < 1
	for _, m := range *ms {
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
func (ms members) entries() []*Entry {
	entries := make([]*Entry, 0, len(ms))
	for _, m := range ms {
		if m.gone.IsZero() || m.stale {
			if m.entry.Stale != m.stale {
				m.entry = &Entry{m.entry.Instance, m.stale}
			}
			entries = append(entries, m.entry)
		}
	}
	return entries
}
