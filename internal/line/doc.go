// Package line is the one place where waiting happens.
//
// Everyone who wants something stands in one line in etcd: the entries under one prefix, in order of their create
// revision. A primitive is a rule over the entries ahead of one's own: it says who of them has to leave before one may
// enter. A mutex waits for the nearest, a reader for the nearest writer.
//
// # The one fact
//
// New entries get larger revisions. So the entries ahead of mine, once I stand in line, only become fewer, and any
// read or event stream that is at or past my own revision and shows the rule satisfied proves it for ever. Staleness
// can delay a grant; it cannot make a wrong one.
//
// # Two lines
//
// All of one name in one Session share one entry in etcd, the place, behind a local line, first come, first served.
//
//	Acquire ─► local line ─► place: enqueue ─► view: watch ─► judge ─► grant ─► Hold
//	Hold    ◄─ lose ◄─ place gone (view) or lease lost (keeper)
//
// # Files
//
//   - line.go: the local line, who waits and who holds; admit.go: who may wait, and who is told that he may not
//   - next.go: what to do next, as a function of the state (pure)
//   - drive.go: the goroutine that does it, one per line, only while there is something to do; join.go: of that, how
//     an entry comes to stand in the line
//   - remote.go: the transactions; rewrite.go: its value is changed; park.go: an entry outlasts its
//     release; died.go: how did those end who held before us?
//   - view.go: what we know of a range of keys, a list and then events; watching.go: which range that is, and what
//     follows from a change
//   - trust.go: what is concluded from a watch that tells nothing; rewound.go: an etcd that has gone back
//   - judge.go: who is ahead, may I enter (pure)
//   - hold.go: a grant, and its end
//   - table.go: the lines of a Session
//   - lanes.go: two lines of one name, for readers and for writers
//   - all.go: a hold with entries of its own in several lines; enter.go and leave.go: by one transaction each
//   - slots.go: the names of entries
//   - who.go: who is in the way, for those who are refused or wait; records.go: what sessions say of themselves
//
// # Unknown outcomes
//
// An enqueue whose answer is lost may have happened, or may yet happen. Every enqueue compares the revision of the
// session's own record. Whoever gives up after an unknown outcome writes that record again, in the transaction that
// deletes the entry: from then on, an enqueue that is still on its way fails.
package line
