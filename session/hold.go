package session

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Hold is what all that is held has in common: *lock.Lock, *lock.Set, *election.Term, *semaphore.Permit, *barrier.Pass, and a cron.Tick that runs.
type Hold interface {
	// Context ends with the hold; context.Cause says why.
	Context() context.Context
	// Deadline is until when the hold may be trusted, if no renewal gets through before; the zero time once it has ended.
	Deadline() time.Time
	// Lease is the lease that it hangs on.
	Lease() clientv3.LeaseID
}
