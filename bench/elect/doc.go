// Package elect measures for how long nobody leads: from the end of one term of an election to the start of the next.
//
// Each candidate is a process of its own, so that a leader can be killed as one is: with SIGKILL, its lease left to
// etcd. A term ends in one of three ways, each a [Row]:
//
//	resign        the leader resigns: from its call of Resign to the return of the next one's Campaign
//	kill          the leader's process is killed: from the kill to the return of the next one's Campaign
//	kill + etcd   the same, and half a TTL later the leader of etcd's own cluster is killed. The new one does not know
//	              when leases were last renewed and gives each its full time again; whether it did is counted
//
// A kill comes at a random moment between two renewals. All processes are on one machine, and read one clock.
//
// Plain puts are measured between the hand-overs, under the same conditions: what one proposal takes.
package elect
