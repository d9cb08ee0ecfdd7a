// Package mirror keeps copies of keys up to date, for a session or without one.
//
// A copy is a list, kept up by a watch that was there before the list was read. The watch starts from now, since etcd
// serves one from a past revision on a tick of 100 ms. Unless the Copy can do with less (see FollowPart), the list is linearizable: so it is
// not older than the watch, and not older than anything that an earlier watch has told, from whichever member that came. That is why a
// copy never goes back. A watch that ends, for whatever reason, is never an answer: there is another one, and another list.
package mirror
