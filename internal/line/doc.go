// Package line is the one place where waiting happens.
//
// Everyone who wants something stands in one line in etcd: the entries under one prefix, in order of their create revision. A primitive is a
// policy over the entries ahead of one's own; see package queue, also for the one fact on which all rests.
//
//	Acquire ─► queue ─► attempt: sent ─► queued ─► entered ─► Hold
//	Hold    ◄─ loss ◄─ entry gone (view) or lease lost (keeper)
//
// All of one name in one Session stand in one queue, and take turns on one attempt: our entry in etcd. A hold on several names, or one that is
// never handed on, has a machine of its own.
//
// # Files
//
// The machine is pure. It takes what happens, and returns what is to be done:
//
//   - machine.go: what it is, and step; event.go: what happens, and what is to be done; attempt.go: our entries, and what may be when
//   - local.go: who waits and holds here
//   - next.go: what to do next; ask.go: which request that takes; request.go: what follows from its answer, joined.go from that to an enqueue
//   - view.go: what is known of a range of keys, a list and then events; watching.go: which range that is, and what follows from a change
//   - trust.go: what is concluded from a watch that tells nothing; departures.go: who was ahead and has gone
//   - time.go: what happens by itself, and when; turns.go: tokens; draw.go: the machine in a line of text
//
// Around it:
//
//   - line.go: the driver; send.go, join.go, leave.go, died.go: requests as transactions
//   - hold.go: a grant, and its end; set.go: one of several lines
//   - table.go: the lines of a Session; slots.go: the names of entries; who.go: who is in the way
//
// # Unknown outcomes
//
// An enqueue whose answer is lost may have happened, or may yet happen. Every enqueue compares the revision of the session's own record.
// Whoever gives up after an unknown outcome writes that record again, in the transaction that deletes the entry: from then on, an enqueue that
// is still on its way fails.
package line
