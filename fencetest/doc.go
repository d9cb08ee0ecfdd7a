// Package fencetest is an etcd in memory for tests: a real client of etcd's, and so this whole library and whatever else uses that client,
// runs against it without a server, a network or a disk, and in virtual time if the test wants that.
//
//	func TestWorkerStopsWhenItsLockIsLost(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			etcd := fencetest.Start(t)
//			s := etcd.Session(t)
//			l, err := lock.New(s, "nightly").Acquire(t.Context())
//			…
//			time.Sleep(time.Hour)     // costs milliseconds: it is renewed all the while
//			etcd.Expire(s.Lease())
//			<-l.Context().Done()
//		})
//	}
//
// In a bubble of [testing/synctest] time goes on when everybody waits, so an hour passes at once, and a test never waits for what it could
// miss. Outside of a bubble the same etcd runs in real time. Both end with the test: nothing has to be closed but what the test has opened
// by itself.
//
// # Who is there
//
// [Etcd.Client] and [Etcd.Session] come from a process of their own each; [Etcd.Node] names one, for faults that meet it: [Node.Cut],
// [Node.Freeze], [Node.Refuse], [Node.Reset], [Node.Silence], [Node.EndWatches], [Node.Skew], and [Node.Heal].
// [Etcd.Decide] says what becomes of each request: late, lost, done but not answered, done when its sender has given up.
// What happens to etcd itself: [Etcd.Expire], [Etcd.Revoke], [Etcd.Put], [Etcd.Delete], [Etcd.Compact], [Etcd.ChangeLeader], [Etcd.Stop] and
// [Etcd.Resume], [Etcd.Backup] and [Etcd.Restore], [Etcd.Lag], [Etcd.SetNoSpace], [Etcd.ForgetTokens].
// [Etcd.Transcript] tells all that happened in words: print it when a test fails.
//
// # How true it is
//
// A test of this package does ten thousand random operations a run to this etcd and to a real one of version 3.7, and compares each answer
// and each event: ranges with all options, transactions, compaction, leases, watches. etcd's own packages concurrency and naming run
// against it, too. What it does not do: Snapshot, Hash, RangeStream and changes of membership; notices of progress that nobody asked for;
// TLS; a user who reads his own roles; limits on space but for the alarm. A change of leader loses no request by itself: that is for Decide.
// A token of a user who has logged in ends with ForgetTokens only. Memory grows with the history, which is kept for the transcript.
//
// # What bubbles do not see
//
// A goroutine that waits for the network, or for a channel or a context from outside its bubble, keeps time from going on; so does one that
// waits for a sync.Mutex, as long as it does. Take t.Context inside.
package fencetest
