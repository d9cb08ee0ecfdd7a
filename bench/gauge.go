package bench

import "sync/atomic"

// Gauge is the part of a Referee that most workloads share. Each name has room for so many units; a turn takes some
// of each of its names, and is exclusive when it takes all.
//
// Each name has a counter, an ordinary variable as far as exclusion goes: an exclusive turn reads it on entry and
// writes it on exit, so that whoever does so at the same time loses an update; a shared one reads it on entry and on
// exit, and finds it as it was. Load and Store are atomic one by one so that a lock that fails gives a wrong count and
// not undefined behaviour, and so that the race detector, which cannot see a hand-over that goes through etcd, has
// nothing to say about one that works.
type Gauge struct {
	room     int64
	names    []gauged
	overlaps atomic.Int64
	torn     atomic.Int64
}

type gauged struct {
	inside  atomic.Int64 // units
	count   atomic.Int64 // the counter
	updates atomic.Int64 // what it should be

	freed          atomic.Int64 // when the last turn let go; 0 before there was one
	freedExclusive atomic.Int64 // the same, of exclusive turns: they alone are in the way of shared ones

	_ [64]byte // who takes one name should not wait for the memory of another
}

// NewGauge makes a gauge of so many names with room for so many units each.
func NewGauge(names, room int) *Gauge {
	return &Gauge{room: int64(room), names: make([]gauged, names)}
}

// Check is Checker's: no turn takes more than there is.
func (g *Gauge) Check(t *Turn) error {
	if int64(t.Units) > g.room {
		return Invalid("a turn takes %d units, and its gauge has room for %d", t.Units, g.room)
	}
	if last := t.Names[len(t.Names)-1]; last >= len(g.names) {
		return Invalid("a turn takes name %d, and its gauge has %d", last, len(g.names))
	}
	return nil
}

// Enter takes t.Units of each of t.Names. See Referee for what it returns.
func (g *Gauge) Enter(t *Turn, _ Locker) (freed int64) {
	units, overlap := int64(t.Units), false
	t.Seen = t.Seen[:0]
	for _, i := range t.Names {
		n := &g.names[i]
		if units == g.room {
			freed = max(freed, n.freed.Load())
		} else {
			freed = max(freed, n.freedExclusive.Load())
		}
		overlap = n.inside.Add(units) > g.room || overlap
		t.Seen = append(t.Seen, n.count.Load())
	}
	if overlap {
		g.overlaps.Add(1)
	}
	return freed
}

// Leave gives back what Enter took.
func (g *Gauge) Leave(t *Turn, at int64) {
	units, torn := int64(t.Units), false
	for k, i := range t.Names {
		n := &g.names[i]
		if units == g.room {
			n.count.Store(t.Seen[k] + 1)
			n.updates.Add(1)
			n.freedExclusive.Store(at)
		} else {
			torn = n.count.Load() != t.Seen[k] || torn
		}
		n.freed.Store(at)
		n.inside.Add(-units)
	}
	if torn {
		g.torn.Add(1)
	}
}

// Safety has overlaps, lost updates and torn reads.
func (g *Gauge) Safety() Safety {
	s := Safety{Overlaps: g.overlaps.Load(), TornReads: g.torn.Load()}
	for i := range g.names {
		s.LostUpdates += g.names[i].updates.Load() - g.names[i].count.Load()
	}
	return s
}
