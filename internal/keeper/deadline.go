package keeper

import (
	"fmt"
	"time"
)

// The limits of a TTL. etcd counts in whole seconds and raises what is below its own minimum, 2 s by default.
const (
	MinTTL = 2 * time.Second
	MaxTTL = 24 * time.Hour
)

// CheckTTL says why a TTL cannot be used.
func CheckTTL(ttl time.Duration) error {
	rule := ""
	switch {
	case ttl < MinTTL:
		rule = "it is under " + MinTTL.String()
	case ttl > MaxTTL:
		rule = "it is over " + MaxTTL.String()
	case ttl%time.Second != 0:
		rule = "it is not in whole seconds, which is what etcd counts in"
	default:
		return nil
	}
	return fmt.Errorf("%w: %v: %s", ErrInvalidTTL, ttl, rule)
}

// deadline is how long a lease may be trusted that was granted or renewed by a request sent at t0. etcd starts to
// count at t0 or later, and a new etcd leader only extends, so this is early by the margin, never late. The margin
// allows for clocks whose rates differ by 1 %, and for a process that is scheduled late.
func deadline(t0, ttl time.Duration) time.Duration {
	return t0 + ttl*99/100 - max(250*time.Millisecond, ttl/20)
}

// suspectAt is when a renewal counts as overdue: two have been missed, a third of the TTL is left.
func suspectAt(deadline, ttl time.Duration) time.Duration { return deadline - ttl/3 }
