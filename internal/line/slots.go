package line

import (
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keeper"
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

// takeInherited is the slot of the first of these keys that could be ours under such a name.
func (t *Table) takeInherited(of *track, lease clientv3.LeaseID, keys []keeper.Heirloom) (slotKey, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range keys {
		slot, ok := of.slotOf(h.Key, lease)
		if ok && h.Key == of.key(slot) && !t.slots[slot] {
			t.slots[slot] = true
			return slot, true
		}
	}
	return slotKey{}, false
}

// isAnothers says whether another attempt of ours than that of s has the slot of that key.
func (t *Table) isAnothers(of *track, key string, s *spot) bool {
	slot, ok := of.slotOf(key, s.lease)
	t.mu.Lock()
	defer t.mu.Unlock()
	return ok && slot != s.slot && t.slots[slot]
}

func (t *track) slotOf(key string, lease clientv3.LeaseID) (slotKey, bool) {
	id, slot, ok := keyspace.ParseEntry(strings.TrimPrefix(strings.TrimPrefix(key, t.dir()), t.policy.Mark))
	return slotKey{t.prefix, lease, slot}, ok && id == lease
}

// key is that of an entry in the slot.
func (t *track) key(s slotKey) string {
	return keyspace.Entry(t.dir()+t.policy.Mark, s.lease, s.slot) + t.policy.Suffix
}

// newSpot names an entry on lease, in a slot of its own; in that of an inherited entry, if there is one.
func (t *Table) newSpot(of *track, lease clientv3.LeaseID, inherited []keeper.Heirloom) spot {
	if slot, ok := t.takeInherited(of, lease, inherited); ok {
		return spot{lease: lease, slot: slot, key: of.key(slot)}
	}
	least := 0
	if of.policy.Values {
		least = 1 // so that all keys have one shape, which no mutex writes
	}
	slot := t.takeSlot(of.prefix, lease, least)
	return spot{lease: lease, slot: slot, key: of.key(slot)}
}
