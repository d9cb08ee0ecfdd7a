package line

import clientv3 "go.etcd.io/etcd/client/v3"

// The key of an entry ends with a slot, a small number, so that key names are used again: deleted keys stay in etcd's
// index until a compaction, and slow every range over the prefix. A slot belongs to one place at a time, of whichever
// line of the Session, until its entry is known to be gone: so an entry of our lease under that key is that place's,
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

func (t *Table) freeSlot(p *place) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !p.freed { // else it may be another's by now
		p.freed = true
		delete(t.slots, p.slot)
		p.epoch.Give(p.lease)
	}
}
