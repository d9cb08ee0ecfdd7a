// Package sim runs the whole library, etcd's client included, in virtual time against an etcd in memory (package fencetest), and does to
// it what a seed says: processes that take and give back all there is, answers that come late, twice or never, watches that fall silent,
// leases that end, leaders that change, clocks that run apart. What must hold all the while is stated once, in world.go.
//
//	go test ./internal/sim                                  2 000 seeds
//	make simulate SEEDS=100000                              more of them, in parallel
//	go test ./internal/sim -sim.seed=17 -v                  one, with its transcript
//	go test ./internal/sim -sim.scenario="a process sleeps" -sim.seeds=1000
package sim
