package bench

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fenceline/fenceline/fence"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Subject is what is under test, for one workload or for several. To put another one beside those that come with this
// package, implement these three interfaces; package subject/local does it in a page. What runs on a session of etcd or
// of fenceline needs the Locker only: subject/etcd.With and subject/fenceline.With are the rest.
type Subject interface {
	// Name is how the report calls it: one word.
	Name() string
	// Join makes one contender, with a connection of its own.
	Join(ctx context.Context, p Place) (Contender, error)
}

// Place is where a contender joins: the cluster, and what it may use of it.
type Place struct {
	Etcd   clientv3.Config // dial with this one, its options count what is sent
	Prefix string          // all keys go below it; ends with a slash
	TTL    time.Duration   // of leases, in whole seconds
}

// Contender stands for one process: one connection, and the sessions on it.
type Contender interface {
	// Locker is asked once for each goroutine. names are About.Names; who takes one of them keeps others from it, also
	// within a contender.
	Locker(ctx context.Context, names []string) (Locker, error)
	// Close gives back leases and closes the connection. Calls that still wait on it end.
	Close(ctx context.Context) error
}

// Leased is a Contender that holds what it has by a lease of etcd.
type Leased interface {
	Contender
	Lease() clientv3.LeaseID
}

// Locker is one goroutine's way in. It is used by that goroutine only.
type Locker interface {
	// Lock takes all that t says, or nothing and returns an error. t stays as it is until Unlock.
	Lock(ctx context.Context, t *Turn) error
	// Unlock gives back what the last Lock took.
	Unlock(ctx context.Context) error
}

// Fenced is a Locker that fenced cells can be measured with.
type Fenced interface {
	Locker
	// Token is the fencing token of the present hold. It is asked for between Lock and Unlock, and in fenced cells only.
	Token() fence.Token
}

// Subjects knows subjects by name.
type Subjects map[string]func() Subject

// Names is all there are, sorted.
func (s Subjects) Names() []string { return slices.Sorted(maps.Keys(s)) }

// ByName makes the subjects called so, in that order. An unknown name is ErrInvalid.
func (s Subjects) ByName(names ...string) ([]Subject, error) {
	subjects := make([]Subject, len(names))
	for i, name := range names {
		maker, ok := s[name]
		if !ok {
			return nil, Invalid("subject is %q, want one of %s", name, strings.Join(s.Names(), ", "))
		}
		subjects[i] = maker()
	}
	return subjects, nil
}
