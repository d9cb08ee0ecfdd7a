// Package semaphore lets up to limit units be held at once, in all processes that use its name, first come, first
// served: a large request is not overtaken by small ones.
//
// # What it promises
//
// Nobody is told "yours" unless, at a revision of etcd at or after the arrival of its own entry, the units of all who
// were before it and its own were within the limit of that revision. k units are one entry, all or nothing, so no two
// can sit on halves. The units of a holder that dies come back when its lease ends. A Permit's Context ends before
// etcd can give its units to another process, under the assumptions of package session. After an error nothing is
// held and nothing stays queued longer than the Session lives.
//
// # What it does not
//
// A token for a gate: permits of one name stand side by side, so none is the newest. There is a Guard, for etcd
// transactions. Nor does shrinking the limit take units from anyone: new grants wait until enough came back.
//
// # The local line
//
// Goroutines of one Session that want the same number of units wait here, in order, and stand in etcd's line with one entry at most. A permit
// that is given back goes to the first of them without a word to etcd, unless its guard was looked at: while no other process waits, and else
// up to 32 times in a row. So Status and fenceline ls show one entry for all who wait here.
//
// # The limit
//
// It is stored in etcd by whoever comes first, without a lease, and compared whenever somebody queues: two programs
// that mean different limits learn of it at once. Resize changes it for everyone.
package semaphore
