// Package lock gives one holder at a time (Mutex), one writer or many readers (RWMutex), or several locks at once
// (AcquireAll), in the order in which etcd saw them arrive.
//
// # What it promises
//
// First come, first served among processes. Nobody is told "yours" unless, at a revision of etcd at or after the
// arrival of its own entry, nobody was ahead of it and its entry was there. A hold's Context ends before etcd can
// give the lock to another process, under the assumptions of package session. Tokens grow in grant order, and an etcd
// transaction with Guard in its If commits only while that very hold stands; these two rest on etcd alone.
//
// # What it does not
//
// That two processes never act at once on something outside etcd. A process that was stopped may wake up late and
// write before it has looked at its Context. A resource that must not see such a write needs a fence: package fence.
//
// # Who is in the way
//
// A refusal, and a wait that ends with its ctx, say who is in the way, if that can be found out: HeldError and
// session.WaitError. It is what was true at that moment, for people and logs; nothing may be decided by it.
//
// # The local line
//
// All of one name in one Session share one entry in etcd, behind a local line. A thousand goroutines that want one
// lock are one entry and at most one watch, and exclude each other. While no other process waits, a release hands the
// lock to the next goroutine without a word to etcd. While others wait, a bounded number of times (WithHandoffs);
// then the entry goes to the back of the line.
//
// Each grant has a token of its own, also without a word to etcd: the session counts the grants under an entry that are asked for it.
// (Holds whose token was asked for only after their release may share one; it is smaller than that of whoever came after them.) A holder that has looked at
// its Key or Guard has exposed the entry, and an exposed entry is never handed on, for the guard has to end with the hold: the next goroutine
// gets a new one by one transaction that is release and enqueue at once. So does the next one after 4032 grants, of which an entry has tokens.
//
// Readers of one Session share an entry while they overlap and no writer waits behind it: their tokens grow in the order of grants (after 4032 of
// them, if somebody was in all the time, all get the last), and each one's guard holds until the last of them is out. A Set has entries of its own.
package lock
