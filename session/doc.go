// Package session keeps this process's lease in etcd alive. Everything the other packages hold (locks, leadership,
// permits, registrations) hangs on that lease and ends with it.
//
// # What it promises
//
// A hold ends here before etcd can give it to another process. The lease is trusted until a deadline that is counted
// from the moment the last acknowledged renewal was sent, less a margin of 1 % of the TTL and the larger of 250 ms
// and a twentieth of the TTL. On Linux the clock goes on while the machine sleeps. This rests on clocks that run at
// the same rate within 1 %, on a process that is scheduled within the margin, and on nobody revoking leases or
// deleting entries by hand. Where that is too little, see package fence.
//
// # Loss
//
// A Session outlives its leases. A lease is lost at its deadline (ErrExpired) or when etcd says that it does not
// exist (ErrRevoked). Everything held under it is then lost at once and for good: the Context of each hold ends with
// the cause. The Session takes a new lease, with jittered back-off, for as long as it is open; calls made meanwhile
// wait for it, as long as their own ctx allows.
//
// A renewal goes out every third of the TTL, one request at a time with a timeout of its own. When one is overdue
// the Session is Suspect: nothing is lost yet, but work may choose to pause.
//
// # Use
//
// One Session per process is the normal number. It costs one record in etcd (who this process is, as `fenceline ls`
// shows it) and one renewal each third of the TTL, however much is held under it.
//
// Renewals share the client's connection, and wait behind what else it carries: for 1 MiB, 0.1 s at 2 MiB/s and up to
// 1.5 s at 512 KiB/s. A program that moves megabytes over a slow link, with a TTL of few seconds, gives the Session a
// client of its own.
//
// A user's role needs readwrite on the namespace, "fenceline/" unless WithNamespace says otherwise.
package session
