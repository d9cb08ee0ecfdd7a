package inspect

import (
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/cron"
	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/registry"
	"github.com/fenceline/fenceline/session"
)

// Kinds of lines. A Snapshot may have others, which stand in the namespace and are none of these.
const (
	Lock      = "lock"
	RWLock    = "rwlock"
	Election  = "election"
	Semaphore = "semaphore"
	Barrier   = "barrier"
	Gate      = "gate"
	Latch     = "latch"
	Prefix    = "prefix" // a line under a raw prefix, which is its name
	Strange   = "?"      // keys in the namespace that are in no line
)

// Kinds are those that there are primitives for.
func Kinds() []string { return []string{Lock, RWLock, Election, Semaphore, Barrier, Gate, Latch} }

// States of an Entry. That of a latch says how many count-downs are left, in words; a kind without rules has none.
const (
	Holds    = "holds"
	Waits    = "waits"
	Released = "released" // but kept from others for the rest of a minimum hold
	Inside   = "inside"   // a round of a barrier that was full
	Closed   = "closed"
	Open     = "open"
)

// Snapshot is what stands in etcd at one revision.
type Snapshot struct {
	Revision int64      `json:"revision"`
	Lines    []*Line    `json:"lines"`              // by kind and name
	Sessions []*Session `json:"sessions,omitempty"` // by lease; all of the namespace, unless one line was asked for
	// Jobs are those of cron, if the whole namespace was read, and Services what is registered, if WithServices says where.
	Jobs     []cron.Job                     `json:"-"`
	Services map[string][]registry.Instance `json:"-"`
	limits   map[string]int64
	read     time.Time // by the clock here
}

// Session is a process's session, as it calls itself.
type Session struct {
	session.Record
	Lease string   `json:"lease"`                 // its first, in hex
	More  int      `json:"more_leases,omitempty"` // further leases, which a session has that holds much
	Holds []string `json:"holds,omitempty"`       // "lock nightly"
	Waits []string `json:"waits,omitempty"`
}

// Line is everyone who wants one name, in order.
type Line struct {
	Kind    string  `json:"kind"`
	Name    string  `json:"name"`
	Limit   int64   `json:"limit,omitempty"` // of a semaphore, in units; 0: nobody has stored one
	Entries []Entry `json:"entries"`

	inside map[int64]bool // of a barrier: entries of rounds that were full
}

// Entry is one key in a line.
type Entry struct {
	Position  int             `json:"position"` // from 1
	State     string          `json:"state,omitempty"`
	Waits     time.Time       `json:"waiting_since,omitzero"` // when it came into the line; zero: not known
	Holds     time.Time       `json:"held_since,omitzero"`    // when its process was granted it first; zero: not known, or it was not
	Owner     string          `json:"owner,omitempty"`        // see session.WithOwner; empty: none, or not known
	KeptUntil *time.Time      `json:"kept_until,omitempty"`   // of a released one, at the latest
	Mode      string          `json:"mode,omitempty"`         // of a rwlock: read or write
	Units     int64           `json:"units,omitempty"`        // of a semaphore
	Priority  int             `json:"priority,omitempty"`     // of a candidate
	Token     fence.Token     `json:"token"`                  // of its first holder
	Revision  int64           `json:"revision"`               // at which it was created
	Key       string          `json:"key"`
	Lease     string          `json:"lease,omitempty"` // hex; without one the entry never goes by itself
	Value     string          `json:"value,omitempty"`
	Session   *session.Record `json:"session,omitempty"` // nil: unknown

	foreign  bool // not a key as fenceline or etcd's concurrency package write it
	parked   bool // under another lease than the one it came with
	lease    clientv3.LeaseID
	owner    clientv3.LeaseID // that of the session that has put it
	waitsFor string           // the other lock of its set for which it waits, where that was asked
	version  int64            // how often it was written
	nobodys  bool             // there is nobody to name
}

// Since is when the entry came into its present state; zero: not known.
func (e *Entry) Since() time.Time {
	if e.State == Waits || e.Holds.IsZero() && e.State != Holds {
		return e.Waits
	}
	return e.Holds
}

// LeaseID is the lease that the entry hangs on; clientv3.NoLease: none.
func (e *Entry) LeaseID() clientv3.LeaseID { return e.lease }

// Of is the session's lease that the entry came with, which may be another than LeaseID's after the session gave it back.
func (e *Entry) Of() clientv3.LeaseID { return e.owner }

// Limit is the one stored for a semaphore, whether anybody uses it or not.
func (s *Snapshot) Limit(name string) (limit int64, stored bool) {
	limit, stored = s.limits[name]
	return limit, stored
}

// Line finds a line; nil: nobody is in it.
func (s *Snapshot) Line(kind, name string) *Line {
	if i := slices.IndexFunc(s.Lines, func(l *Line) bool { return l.Kind == kind && l.Name == name }); i >= 0 {
		return s.Lines[i]
	}
	return nil
}

// Holder is whom the entry stands for, as errors of a try and notices of a wait name it.
func (e *Entry) Holder() session.Holder {
	h := session.Holder{Key: e.Key, Lease: e.lease, WaitsFor: e.waitsFor}
	if e.Session != nil {
		h.Record = *e.Session
	}
	switch e.State {
	case Waits:
		h.Standing = session.Waits
	case Released:
		h.Standing = session.Kept
	}
	return h
}

// Ahead are the entries before the one that came with lease, or all of them if none did.
func (l *Line) Ahead(lease clientv3.LeaseID) []Entry {
	mine := slices.IndexFunc(l.Entries, func(e Entry) bool { return lease != clientv3.NoLease && e.owner == lease })
	if mine < 0 {
		return l.Entries
	}
	return l.Entries[:mine]
}
