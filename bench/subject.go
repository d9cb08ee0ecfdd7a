package bench

import (
	"context"
	"time"

	"github.com/fenceline/fenceline/fence"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Subject is a kind of lock under test. To put another one beside those that come with this package, implement
// these three interfaces; package subject/local does it in a page.
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
	// Locker is asked once for each goroutine; lockers of one name exclude each other, also within a contender.
	Locker(ctx context.Context, name string) (Locker, error)
	// Close gives back leases and closes the connection. Calls that still wait on it end.
	Close(ctx context.Context) error
}

// Locker is one goroutine's way into one lock. It is used by that goroutine only.
type Locker interface {
	Lock(ctx context.Context) error
	Unlock(ctx context.Context) error
	// Token is the fencing token of the present hold. It is asked for between Lock and Unlock, and in fenced cells only.
	Token() fence.Token
}
