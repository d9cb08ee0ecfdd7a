// Package bench measures what it costs to take turns: how many acquisitions per second a contended lock gives, how
// long a contender waits, how long the lock lies idle between two holders, how evenly it is shared, and what all of
// that costs the cluster. Every run also checks that the lock is one.
//
// # How a run goes
//
// A run is a list of cells. A [Cell] is one situation: so many contenders with so many goroutines each, holding for
// so long, looking at fencing tokens or not, under a [Load], which says what a turn takes. In each cell every [Subject] is measured for some rounds, in
// alternation and with the order swapped from round to round, so that a machine that gets slower or faster
// meanwhile does so for all of them. A trial, one subject in one round of one cell, is:
//
//	join      each contender opens a connection and a session of its own
//	warm up   everybody takes turns in a loop, nothing is counted
//	measure   the same, counted, for Config.Duration
//	drain     who waits gets his turn and leaves; checked, not counted
//	leave     sessions and connections are closed
//
// It is a closed loop without think time: whoever releases queues again at once. With Cell.Rate it is an open one: turns
// are due at random times, as those of users are, and an acquire takes from when it was due, also when the worker was
// late, so that one long wait is not counted as one only (coordinated omission). What turns are drawn comes from a
// seed: the n-th worker of each subject gets the same sequence.
//
// # Workloads
//
//	bench            the run and its trials; Load, Referee and Gauge; Subject, Contender and Locker; Probe
//	bench/subject    sessions to build subjects on, and the mutexes
//	bench/rival      locks on something else than etcd
//	bench/workload   the list, and a folder for each workload: its Load, and the subjects it is for
//	bench/takeover   a probe: how long a lock stays with a process that was killed
//	bench/condition  what makes it harder: other writers, compactions, a slower network
//	bench/report     tables, pages and files
//	bench/compare    what has changed between two results
//	bench/idle       not in the list: what locks cost while nothing happens to them
//	bench/examples   a workload of one's own
//
// A workload is a Load, whose [Referee] says what the next turn is and sees who is inside, and subjects whose [Locker]
// takes what a [Turn] says. The loop in between knows neither. [Mutex] is the smallest one, workload/all a whole one.
// What a workload measures besides turns is a [Probe].
//
// # What is measured
//
// Acquire is the time from the call of Lock to its return. Hand-over is the time from the call of Unlock by the last
// holder in the way to the next one being inside, counted only if the next one was waiting by then. Both come from HDR histograms with two
// significant digits. Jain's index is over contenders: 1 is an even share, 1/n means one took all. The longest wait
// includes waits that were not over when the measurement ended. [Succession] is short-term fairness, which an even share over the
// whole run can hide. The cost counts what went over the contenders' etcd connections while the clock ran; see package cost.
// [Usage] is what the contenders' process took, and [Server] what etcd says that it took.
//
// # What is checked
//
// A [Gauge] shared by all contenders must never read more inside than there is room for: one holder of a mutex, one
// writer or many readers. A counter that exclusive holders read on entry and write on exit must in the end equal the
// number of their acquisitions, and must not move under those who share. Without a hold time a turn
// lasts about 100 ns, so most overlaps would go unseen; set one to catch them. In fenced cells every hold also writes through a [fence.Gate], and no
// two holds may show the same token. A [SafetyError] ends the run.
//
// # What it is not
//
// Numbers of one machine over loopback say how two locks compare there. They say nothing about a cluster across
// three buildings, and absolute figures move with the disk under etcd.
package bench
