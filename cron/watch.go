package cron

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/mirror"
)

// errUnseen is why a job does nothing before the first list.
var errUnseen = errors.New("cron: etcd has not been heard of yet")

// follow keeps the job's state up to date with etcd's until stop is called.
func (j *job) follow() (stop func()) {
	return mirror.Follow(j.keeper, mirror.Keys{Key: j.prefix + claims, End: j.prefix + runs}, j).Stop
}

// Asking, Load, Apply, Trouble and Idle are called by the follower. A transaction may have brought a later state than a list. But one that is
// earlier than what was known before it was asked for shows a cluster that was restored from a backup.
func (j *job) Asking() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.before = j.state.revision
}

func (j *job) Load(revision int64, kvs []*mvccpb.KeyValue) {
	j.rewound(j.knewBefore(), revision)
	j.learn(listed(j.prefix, revision, kvs))
	j.mu.Lock()
	defer j.mu.Unlock()
	j.unseen, j.known = nil, true
	j.nudge()
}

func (j *job) Apply(events []*mvccpb.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	next := j.state.apply(j.prefix, events)
	j.compareClocks(&next)
	j.become(next)
}

// Trouble has the job do nothing more than to end what runs, until the next Load.
func (j *job) Trouble(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.unseen == nil {
		j.keeper.Log.Warn("cron job has lost sight of etcd", "job", j.name, "error", err)
	}
	j.unseen = err
	j.nudge()
}

// Idle: claims need no certainty. One that is made on a state that is old fails, and brings the present one. What a silent watch may keep
// to itself is the end of a run, so while there is one the keys are listed now and then.
func (j *job) Idle() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.state.record.Open) == 0 && len(j.state.claims) == 0
}

func (j *job) knewBefore() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.before
}

// sight says why etcd is not seen at present, if it is not, and whether it has been.
func (j *job) sight() (unseen error, known bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.unseen, j.known
}

func (j *job) revision() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.state.revision
}

// rewound compares the revision of a linearizable answer with what was known before the request. If it is lower, the
// cluster was restored from a backup: what was known is not true any more.
func (j *job) rewound(known, revision int64) {
	if revision < known {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.state.revision = 0
	}
}

// request is a context for one request. It does not end with Run's: what has begun is brought to its end.
func (j *job) request() (context.Context, context.CancelFunc) {
	return context.WithTimeout(j.keeper.Context(), j.keeper.RequestTimeout())
}

// learn takes a state that was read, unless a later one is known.
func (j *job) learn(s state) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if s.revision >= j.state.revision {
		j.become(s)
	}
}

// become makes s the state. It is called with the mutex held.
func (j *job) become(s state) {
	j.state = s
	for _, r := range j.running {
		j.holds(r)
	}
	j.changed()
}

// holds ends a run whose claim does not stand any more. It is called with the mutex held.
func (j *job) holds(r *running) {
	if j.state.revision >= r.token && j.state.claims[r.tick.Slot].modify != r.token {
		r.lose(keeper.ErrEntryGone)
	}
}

// changed is called with the mutex held. A tick that came while the job was busy could not be started: it is missed.
func (j *job) changed() {
	busy := !j.rules.mayStart(&j.state, len(j.running))
	if busy || j.busy {
		j.since = j.sched.now().Round(0)
	}
	j.busy = busy
	j.nudge()
}

func (j *job) nudge() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}
