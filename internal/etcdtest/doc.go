// Package etcdtest gives tests a real etcd, in a process of its own, which they may kill, stop, restart and cut
// off. The process is "fenceline dev", built once per run of the tests; FENCELINE_COMMAND names a built one to
// use instead.
//
//	client := etcdtest.Shared(t).Client(t)          // one server per test binary, for all that breaks nothing
//	m := etcdtest.Start(t)                          // one of the test's own, to kill and restart
//	c := etcdtest.StartCluster(t, 3); c.Leader(t)   // members that elect a leader
//	p := etcdtest.NewProxy(t, m); p.Cut(); p.Heal() // a network to break
//
// Whatever a test starts ends with it, and no server outlives the test binary, even one that is killed.
// Servers do not wait for the disk: what matters here survives a killed process, not a power cut.
//
// No goroutine stays behind: goleak passes once the test's own clients are closed.
package etcdtest
