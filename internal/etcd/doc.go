// Package etcd is the one door to etcd: how everything here asks it. It knows what an error means for whoever may ask again (Final, Unknown,
// LeaseGone) and for whoever reads it (Explain), how long to wait before the next attempt (Backoff), how long for an answer (Patience), how
// to repeat a request (Retry), and how to read no older than what is known already (KV.ReadAt). It knows nothing of sessions.
package etcd
