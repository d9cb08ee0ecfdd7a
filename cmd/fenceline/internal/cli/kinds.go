package cli

import "github.com/fenceline/fenceline/inspect"

// The kinds of lines, as package inspect has them.
const (
	lockKind      = inspect.Lock
	rwlockKind    = inspect.RWLock
	electionKind  = inspect.Election
	semaphoreKind = inspect.Semaphore
	barrierKind   = inspect.Barrier
	gateKind      = inspect.Gate
	latchKind     = inspect.Latch
	prefixKind    = inspect.Prefix
)

var kinds = inspect.Kinds()

// cronKind is that of jobs, in whose lines nobody stands.
const cronKind = "cron"

const defaultNamespace = "fenceline/"
