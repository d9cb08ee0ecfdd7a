// Package registry answers "who offers this service now?". A process registers an instance of a service, a name with
// an address; others look it up, or follow every change.
//
// # What it promises
//
// A [Registration] stands until it is taken back, or the Session is closed. A lost lease, an entry that somebody
// deletes or overwrites, an etcd that is away for minutes, a compaction: nothing makes it give up. When its process
// dies, its entry goes with the lease. An Update replaces the entry in place, so that nobody sees it missing. Two live
// sessions cannot have one ID of one service.
//
// A reader ([Lookup], [Watch], [Directory]) is shown whole sets, sorted by ID, and never an older state after a newer
// one. Entries that do not parse are kept out; they neither hide others nor end a watch.
//
// # What it does not
//
// That an instance answers: it is there because its process is, for up to one TTL longer. That a process which comes
// back after an outage is there at once: a fleet that returns is spread over a third of the TTL, 5 s at most. That all
// readers see a change at the same moment.
//
// # Leaving
//
// Whoever leaves on purpose, by Deregister or by the Session's Close, marks the entry as [Draining] before it goes. So a
// reader who sees one go that was not, knows that its process has died, or lost its lease.
//
// # In etcd
//
//	services/<service>/<id>   {"Op":0,"Addr":"10.0.0.1:80","Metadata":{…},"Weight":2,"Zone":"a","Version":"1.4"}
//
// The value is what etcd's own package naming/endpoints writes, with fields of ours beside it, so that either reads what
// the other has written. Every entry is under the lease of its session.
package registry
