// Package inspect shows who holds and who waits, as etcd has it: in all lines of a namespace, at one revision.
//
//	s, err := inspect.Read(ctx, client)
//	fmt.Print(s)                    // who holds, since when, who waits behind, and why
//	for _, d := range s.Deadlocks() // who waits for whom, in a circle
//
// It needs a client and no session. What reads, writes nothing: a role that may read the namespace suffices. Only Break writes.
//
// # What etcd knows, and what it does not
//
// The order of a line is that of create revisions, which etcd keeps. Times it does not keep: since when somebody has waited or held, that
// process says itself, once it has for a second; see Entry.Waits. Strangers, as etcd's own clients under a shared prefix, and processes whose
// role does not let them say, have no times. A process may hold through one entry for several of its goroutines in turn: those who wait inside
// a process are not in etcd.
package inspect
