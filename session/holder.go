package session

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keyspace"
)

// Standing is what an entry in a line is to those behind it.
type Standing int

const (
	Holds Standing = iota // it has entered
	Waits                 // it waits itself, for somebody ahead of it or for another lock of its set
	Kept                  // its holder has released it, and it stays for the rest of a minimum hold
)

var standings = [...]string{"holds", "waits", "kept"}

// String is the standing in lower case.
func (s Standing) String() string {
	if s < 0 || int(s) >= len(standings) {
		return fmt.Sprintf("Standing(%d)", int(s))
	}
	return standings[s]
}

// Holder is who is in the way: an entry in a line, and the session that it belongs to, as far as etcd tells. It is what
// was true at one moment; by the time it is read the entry may be gone.
type Holder struct {
	Record                    // zero if etcd has none: of a plain etcd client, say, or of a session that has ended
	Key      string           // of the entry; empty: it could not be found out who it is
	Lease    clientv3.LeaseID // of the entry; clientv3.NoLease: it never goes by itself
	Standing Standing
	WaitsFor string // the other lock for which it waits, where that is known; empty else
	Here     bool   // it belongs to the Session that asked: another goroutine of this process
}

// String says who it is, in a few words.
func (h Holder) String() string {
	switch {
	case h.Here:
		return "another goroutine of this process"
	case h.Key == "":
		return "somebody else"
	case h.Record.Name == "" && h.Lease == clientv3.NoLease:
		return fmt.Sprintf("an unknown client (key %q, no lease)", h.Key)
	case h.Record.Name == "":
		return fmt.Sprintf("an unknown client (key %q, lease %s)", h.Key, keyspace.Lease(h.Lease))
	case h.Host == "":
		return fmt.Sprintf("%s (pid %d)", readable(h.Record.Name), h.PID)
	}
	return fmt.Sprintf("%s on host %s (pid %d)", readable(h.Record.Name), readable(h.Host), h.PID)
}

// Describe says who it is and how it is in the way: "held by …", or what else is true of it.
func (h Holder) Describe() string {
	switch {
	case h.Standing == Waits && h.WaitsFor != "":
		return fmt.Sprintf("%s is ahead, and waits for %q", h, h.WaitsFor)
	case h.Standing == Waits:
		return fmt.Sprintf("%s is ahead, and waits too", h)
	case h.Standing == Kept && h.Record.Name == "":
		return "kept for the rest of the minimum hold of a session that has ended"
	case h.Standing == Kept:
		return fmt.Sprintf("kept for the rest of the minimum hold of %s", h)
	}
	return fmt.Sprintf("held by %s", h)
}

// readable is what another process says of itself: quoted if it is not plain text, and not without end.
func readable(text string) string {
	const most = 64
	if utf8.RuneCountInString(text) > most {
		text = string([]rune(text)[:most]) + "…"
	}
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}

// WaitError says who was in the way when a wait ended without a grant: errors.As finds it in the errors of Acquire and
// Campaign when ctx has ended. It is not there if that was not known at the time: the record of who is ahead is read only
// once a wait has lasted for 0.3 s.
type WaitError struct {
	Name   string // of the lock, election or semaphore
	Holder Holder
	Err    error // why the wait ended: the cause of ctx
}

// Error is Err, and behind whom.
func (e *WaitError) Error() string {
	if e.Holder.Standing == Kept || e.Holder.Standing == Waits && e.Holder.WaitsFor != "" {
		return fmt.Sprintf("%v: %s", e.Err, e.Holder.Describe())
	}
	return fmt.Sprintf("%v: behind %s", e.Err, e.Holder)
}

// Unwrap is Err.
func (e *WaitError) Unwrap() error { return e.Err }
