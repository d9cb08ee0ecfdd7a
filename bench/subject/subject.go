// Package subject knows the subjects of the benchmark by name.
package subject

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/subject/etcd"
	"github.com/fenceline/fenceline/bench/subject/fenceline"
	"github.com/fenceline/fenceline/bench/subject/local"
	"github.com/fenceline/fenceline/lock"
)

var makers = map[string]func() bench.Subject{
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
func Names() []string { return slices.Sorted(maps.Keys(makers)) }

// ByName makes the subjects called so, in that order. An unknown name is a bench.ErrInvalid.
func ByName(names ...string) ([]bench.Subject, error) {
	subjects := make([]bench.Subject, len(names))
	for i, name := range names {
		maker, ok := makers[name]
		if !ok {
			return nil, fmt.Errorf("%w: subject is %q, want one of %s", bench.ErrInvalid, name, strings.Join(Names(), ", "))
		}
		subjects[i] = maker()
	}
	return subjects, nil
}
