package line

import (
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keyspace"
)

// The key of an entry ends with a slot, a small number, so that key names are used again: deleted keys stay in etcd's
// index until a compaction, and slow every range over the prefix. A slot belongs to one attempt at a time, of whichever
// line of the Session, until its entry is known to be gone: so an entry of our lease under that key is that attempt's,
// whatever has become of the answer to its enqueue.

type slotKey struct {
	prefix string
	lease  clientv3.LeaseID
	slot   int
}

// takeSlot is the lowest that is free.
func (t *Table) takeSlot(prefix string, lease clientv3.LeaseID, least int) slotKey {
	t.mu.Lock()
	defer t.mu.Unlock()
	for slot := least; ; slot++ {
		if key := (slotKey{prefix, lease, slot}); !t.slots[key] {
			t.slots[key] = true
			return key
		}
	}
}

func (t *Table) freeSlot(a *attempt, i int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := &a.spots[i]; !s.returned { // else it may be another's by now
		s.returned = true
		delete(t.slots, s.slot)
		a.epoch.Give(s.lease)
	}
}

// newSpot names an entry on lease, in a slot of its own.
func (t *Table) newSpot(of *track, lease clientv3.LeaseID) spot {
	least := 0
	if of.policy.Values {
		least = 1 // so that all keys have one shape, which no mutex writes
	}
	slot := t.takeSlot(of.prefix, lease, least)
	return spot{lease: lease, slot: slot, key: keyspace.Entry(of.dir()+of.policy.Mark, lease, slot.slot) + of.policy.Suffix}
}
