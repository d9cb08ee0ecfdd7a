// Package fence is the other half of a lock: the side of the resource, which refuses writes of holders whose time is
// over.
//
// A lock alone cannot keep a process that was stopped for a minute from writing when it wakes. The resource can, if it
// remembers the largest token it has seen and refuses smaller ones in the same step in which it writes:
//
//   - Gate, in memory, for a resource that lives in one process;
//   - Handler, a Gate around HTTP requests that carry their token in a Header;
//   - SQL, in a table beside the data, for a resource that lives in a database.
//
// A token is no secret, and anybody can make one up. Where callers are not all trusted, a Key signs them: with a secret that holders and
// resource share.
//
// For data in etcd itself there is the Guard of a lock, and no need of a token.
//
// It does not undo what a holder did halfway before it lost the lock, and a stale holder's reads stay stale.
package fence
