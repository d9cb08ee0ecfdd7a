package app

import "github.com/fenceline/fenceline/inspect"

// The kinds of lines, as package inspect has them.
const (
	LockKind      = inspect.Lock
	RwlockKind    = inspect.RWLock
	ElectionKind  = inspect.Election
	SemaphoreKind = inspect.Semaphore
	BarrierKind   = inspect.Barrier
	GateKind      = inspect.Gate
	LatchKind     = inspect.Latch
	PrefixKind    = inspect.Prefix
)

var Kinds = inspect.Kinds()

// CronKind is that of jobs, in whose lines nobody stands.
const CronKind = "cron"

const DefaultNamespace = "fenceline/"
