// Package barrier makes processes wait for each other: Barrier (parties start together, and may leave together, round
// after round), Gate (closed until somebody opens it) and Latch (opens after a number of count-downs).
//
// # What it promises
//
// Barrier: nobody enters unless at one revision of etcd, later than the arrival of its own entry, as many entries stood
// as there are parties, its own among them. At that revision the round is published, in the same transaction that
// compares them; so a party that leaves or dies before is not counted, and one that does so after has passed. (Of
// more than 100 parties, which etcd cannot compare at once, one may die between those two.) Who arrives after belongs to the next round, first come, first served, and disturbs nobody in this one. Anybody who
// waits can publish, so that nobody hangs because of one who died at the wrong moment.
//
// Gate: Wait succeeds only after it has seen the gate open. Latch: an id counts once, whoever calls, however often.
//
// A watch that ends, for whatever reason, is never an answer.
//
// # What it does not
//
// That all parties are still alive when Enter returns: one may have died since, and Context tells only of this party's
// own lease. That a dead party is noticed at once: its lease has to run out, up to one TTL. That an open gate still is.
//
// # In etcd
//
//	barrier/<name>/in/<lease>[-<slot>]  a party, waiting or inside; its value is the number of parties
//	barrier/<name>/round                the newest round, and older ones while somebody is inside; without a lease
//	gate/<name>/closed                  there while the gate is closed; without a lease
//	latch/<name>/tally, open, id/<id>   without leases; to use a latch again, ForgetLatch, or take another name
//
// A party costs one proposal to enter and one to leave. A round costs one more if its last parties arrive so close
// together that none saw that it was the last. The record of rounds is all that stays.
//
// A party that does not care for the end of a round may forget its Pass: it then leaves when the garbage collector finds
// the Pass and its Context unreachable. A party that others are to wait for keeps it, and calls Leave.
package barrier
