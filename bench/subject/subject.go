// Package subject knows the locks that the benchmark measures by name.
package subject

import (
	"time"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/subject/etcd"
	"github.com/fenceline/fenceline/bench/subject/fenceline"
	"github.com/fenceline/fenceline/bench/subject/local"
	"github.com/fenceline/fenceline/lock"
)

// Mutexes are the subjects of the workload mutex.
var Mutexes = bench.Subjects{
	"etcd":      etcd.New,
	"fenceline": fenceline.New,
	"fenceline-linger": func() bench.Subject {
		return fenceline.Variant("fenceline-linger", lock.WithLinger(time.Second))
	},
	"fenceline-strict": func() bench.Subject {
		return fenceline.Variant("fenceline-strict", lock.WithHandoffs(0))
	},
	"local": local.New,
}

// Names is all there are, sorted.
func Names() []string { return Mutexes.Names() }

// ByName makes the subjects called so, in that order. An unknown name is a bench.ErrInvalid.
func ByName(names ...string) ([]bench.Subject, error) { return Mutexes.ByName(names...) }
