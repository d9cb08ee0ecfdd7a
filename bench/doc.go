// Package bench measures what it costs to take turns: how many acquisitions per second a contended lock gives, how
// long a contender waits, how long the lock lies idle between two holders, how evenly it is shared, and what all of
// that costs the cluster. Every run also checks that the lock is one.
//
// # How a run goes
//
// A run is a list of cells. A [Cell] is one situation: so many contenders with so many goroutines each, holding for
// so long, looking at fencing tokens or not. In each cell every [Subject] is measured for some rounds, in
// alternation and with the order swapped from round to round, so that a machine that gets slower or faster
// meanwhile does so for all of them. A trial, one subject in one round of one cell, is:
//
//	join      each contender opens a connection and a session of its own
//	warm up   everybody takes the lock in a loop, nothing is counted
//	measure   the same, counted, for Config.Duration
//	drain     who waits gets his turn and leaves; checked, not counted
//	leave     sessions and connections are closed
//
// It is a closed loop without think time: whoever releases queues again at once.
//
// # What is measured
//
// Acquire is the time from the call of Lock to its return. Hand-over is the time from one holder's call of Unlock to
// the next one being inside, counted only if the next one was waiting by then. Both come from HDR histograms with two
// significant digits. Jain's index is over contenders: 1 is an even share, 1/n means one took all. The longest wait
// includes waits that were not over when the measurement ended. The cost counts what went over the contenders'
// etcd connections while the clock ran; see package cost.
//
// # What is checked
//
// A gauge shared by all contenders must read 1 inside, and a counter that is read on entry and written on exit must
// in the end equal the number of acquisitions. In fenced cells every hold also writes through a [fence.Gate], and no
// two holds may show the same token. A [SafetyError] ends the run.
//
// # What it is not
//
// Numbers of one machine over loopback say how two locks compare there. They say nothing about a cluster across
// three buildings, and absolute figures move with the disk under etcd.
package bench
