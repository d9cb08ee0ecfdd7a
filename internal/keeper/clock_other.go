//go:build !linux

package keeper

import "time"

// Elsewhere Go's monotonic clock has to do; on macOS and Windows it includes sleep.
func bootTime() (time.Duration, bool) { return 0, false }
