package fencetest

import (
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/fencetest/internal/store"
)

// What an operator does to etcd, or happens to it. What happens on the way there is in node.go and fate.go.

// Expire ends a lease as its TTL does, though that may be far away, and deletes its keys.
func (e *Etcd) Expire(lease clientv3.LeaseID) { e.endNow(lease, "expires") }

// OnExpiry calls f just before etcd takes the keys of a lease that has run out by itself: whoever relies on it must know by then.
// f must not ask the Etcd.
func (e *Etcd) OnExpiry(f func(lease clientv3.LeaseID)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ranOut = f
}

// Revoke ends a lease as an operator does.
func (e *Etcd) Revoke(lease clientv3.LeaseID) { e.endNow(lease, "is revoked") }

func (e *Etcd) endNow(lease clientv3.LeaseID, how string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.script.note(e.now(), "etcd", "lease %x %s", int64(lease), how)
	e.revoke(int64(lease))
}

// Put and Delete are somebody else's, who asks nobody. What etcd has against them fails the test.
func (e *Etcd) Put(key, value string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, err := e.store.Put(&pb.PutRequest{Key: []byte(key), Value: []byte(value)}); err != nil {
		e.t.Errorf("fencetest: put %q: %v", key, err)
	}
	e.committed()
}

func (e *Etcd) Delete(key string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, err := e.store.DeleteRange(&pb.DeleteRangeRequest{Key: []byte(key)}); err != nil {
		e.t.Errorf("fencetest: delete %q: %v", key, err)
	}
	e.committed()
}

// Compact makes what is older than the present revision unreadable; watches that are behind end.
func (e *Etcd) Compact() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.script.note(e.now(), "etcd", "is compacted at %d", e.store.Revision())
	_, _ = e.store.Compact(e.store.Revision()) // it fails when that was done before
}

// ChangeLeader makes another member lead, after a time in which nothing that needs a quorum goes on. Leases get their whole TTL again, and
// a second.
func (e *Etcd) ChangeLeader(gap time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.script.note(e.now(), "etcd", "has no leader for %v", gap)
	if gap <= 0 {
		e.elect()
		return
	}
	e.leaderless = true
	e.scan()
	time.AfterFunc(gap, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if !e.stopped && !e.members[0].down {
			e.elect()
		}
	})
}

func (e *Etcd) elect() {
	e.leaderless = false
	e.leader = (e.leader + 1) % len(e.members)
	e.term++
	e.store.RenewAll(e.now())
	e.scan()
	e.signal()
	e.script.note(e.now(), "etcd", "member %d leads in term %d", e.leader+1, e.term)
}

// Stop takes etcd away: connections end, and are refused. Resume brings it back, with all that it had; leases begin anew, as with any
// new leader.
func (e *Etcd) Stop() {
	e.note("etcd", "is away")
	e.mu.Lock()
	e.leaderless = true
	e.scan()
	for _, m := range e.members {
		m.down = true
	}
	e.mu.Unlock()
	e.resetAll()
}

func (e *Etcd) Resume() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.script.note(e.now(), "etcd", "is back")
	for _, m := range e.members {
		m.down = false
	}
	e.elect()
}

// Backup is a copy of what an Etcd has.
type Backup struct{ store *store.Store }

// Backup takes one.
func (e *Etcd) Backup() *Backup {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.script.note(e.now(), "etcd", "a backup at revision %d", e.store.Revision())
	return &Backup{e.store.Snapshot()}
}

// Restore makes a new cluster of a backup, under the old addresses: what happened since is gone, and revisions are used again.
func (e *Etcd) Restore(b *Backup) {
	e.mu.Lock()
	e.store = b.store.Snapshot()
	e.cluster++
	e.script.restored(e.now(), e.store)
	e.store.RenewAll(e.now())
	for _, m := range e.members {
		m.applied, m.lagging = e.store.Revision(), false
		m.streams = nil // which end with their connections
	}
	e.scan()
	e.signal()
	e.mu.Unlock()
	e.resetAll()
}

// numbered is the member of a number from 1 on.
func (e *Etcd) numbered(n int) *member {
	if n < 1 || n > len(e.members) {
		panic(fmt.Sprintf("fencetest: member %d: there are %d, counted from 1", n, len(e.members)))
	}
	return e.members[n-1]
}

// Lag keeps a member, 1 to 3, from applying anything more: what it is asked for without a quorum is old, and so are its watches; all else waits.
// CatchUp ends that.
func (e *Etcd) Lag(member int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.script.note(e.now(), "etcd", "member %d lags", member)
	e.numbered(member).lagging = true
}

func (e *Etcd) CatchUp(member int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.script.note(e.now(), "etcd", "member %d catches up", member)
	m := e.numbered(member)
	m.lagging, m.applied = false, e.store.Revision()
	m.flush()
	e.signal()
}

// SetNoSpace raises etcd's alarm about its quota, or clears it: nothing can be put, and no lease granted.
func (e *Etcd) SetNoSpace(on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.script.note(e.now(), "etcd", "no space: %v", on)
	e.store.SetNoSpace(on)
}
