// Package concurrency has the types, functions, options, errors and keys of go.etcd.io/etcd/client/v3/concurrency, on fenceline. A program
// that uses etcd's package changes the import path and nothing else. Processes with the one and with the other stand in the same lines, so a
// fleet can be moved one process at a time.
//
// What it costs: a Session that locks again what it holds already waits for itself, with the same Mutex or another one of the prefix, where
// etcd's package lets it in. A user needs read and write access to the namespace (WithNamespace, by default "fenceline/") besides the lock's
// prefix, since a session has a record there. Unlock returns ErrSessionExpired when the lock was lost, where etcd's returns nil.
//
// What it brings: Session.Done is closed before the lease can have run out, also in a process that was stopped, so nobody works on a lock that
// others can have. Campaign returns nil only while etcd has the key: nobody leads without one. Whoever waits learns at once that its session has
// ended. Nothing is left in the line when a call fails. Two goroutines of a session never hold at the same time. A hand-over within a process
// costs no request. Observe survives compaction and lost connections, and never goes back.
//
// Each type gives the fenceline value beneath it, for what etcd's package has no word for: Mutex.Held and Election.Term have a Context, which ends
// when the hold is lost, a fencing token, and a guard for transactions; Session.Inner makes locks and elections of any kind.
//
// Other differences: Key returns "" until the lock is held or the election won. A Session whose TTL is below 2 s or over 24 h has that of the
// bound. NewSession gives up after 5 s, with the reason, when etcd cannot be reached. A prefix has to be 1 to 512 bytes of UTF-8 without control
// characters; the error comes from the first call. A second Close returns nil. Resign ends a Campaign that waits. Header is of a read at the
// time of the call, so its revision may be larger. The STM is etcd's own, passed through.
package concurrency
