package session

import (
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// Causes of a handle's Context, and errors of calls. They arrive wrapped, with the name they are about: ask with
// errors.Is.
var (
	// ErrClosed: Close was called.
	ErrClosed = keeper.ErrClosed
	// ErrLost: the hold is gone, or may be. The next three satisfy errors.Is(err, ErrLost) as well.
	ErrLost = keeper.ErrLost
	// ErrExpired: no renewal was acknowledged in time, so that the local deadline has passed.
	ErrExpired = keeper.ErrExpired
	// ErrRevoked: etcd says that the lease does not exist any more.
	ErrRevoked = keeper.ErrRevoked
	// ErrEntryGone: somebody deleted or overwrote the entry of this hold in etcd.
	ErrEntryGone = keeper.ErrEntryGone
	// ErrRestored: etcd answers with a revision before one that was seen, or another cluster answers: it was restored from a
	// backup, and has forgotten what came after. It satisfies errors.Is(err, ErrLost) as well.
	ErrRestored = keeper.ErrRestored
	// ErrInvalidName: empty, over 512 bytes, not UTF-8, or with control characters.
	ErrInvalidName = keyspace.ErrInvalidName
	// ErrInvalidTTL: under 2 s, over 24 h, or not in whole seconds.
	ErrInvalidTTL = keeper.ErrInvalidTTL
	// ErrNotHeld: the handle was released before. It is also the cause of a Context that ended by a release.
	ErrNotHeld = keeper.ErrNotHeld
)

// BrokenError is the ErrEntryGone of a hold that somebody has broken on purpose, as "fenceline release --force" and inspect.Break do.
type BrokenError = keeper.BrokenError
