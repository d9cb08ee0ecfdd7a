package cron

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/chance"
	"github.com/fenceline/fenceline/internal/keeper"
)

// listEvery is how often etcd is asked whether the watch has missed something, while there is a run whose end it
// would tell. Claims need no such question: a claim on a state that is old fails, and brings the present one.
const listEvery = 10 * time.Second

var errMute = errors.New("cron: no answer to a request to watch")

// feed is one watch of a job's keys. Events that come before the list are kept until it is there: on an older state
// they would make one that never was.
type feed struct {
	*job
	created chan struct{}
	ended   chan error

	listed bool // with what follows, under the job's mutex
	early  []*mvccpb.Event
}

// Created, Events and Ended are called by the stream.
func (f *feed) Created(int64) { close(f.created) }

func (f *feed) Events(events []*mvccpb.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.listed {
		f.early = append(f.early, events...)
		return
	}
	next := f.state.apply(f.prefix, events)
	f.compareClocks(&next)
	f.become(next)
}

func (f *feed) Ended(err error) {
	select {
	case f.ended <- err:
	default:
	}
}

// begin takes the list that was read after the watch was created. A transaction may have brought a later state.
func (f *feed) begin(s state) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.revision < f.state.revision {
		s = f.state
	}
	f.become(s.apply(f.prefix, f.early))
	f.listed, f.early = true, nil
}

// follow is the life of one watch. It answers why it ended, and whether it got as far as a list; nil once the job is
// over.
func (j *job) follow(ctx context.Context) (listed bool, err error) {
	f := &feed{job: j, created: make(chan struct{}), ended: make(chan error, 1)}
	defer j.keeper.Watch().Watch(j.prefix+claims, j.prefix+runs, f)()
	if err := f.open(ctx); err != nil {
		return false, err
	}
	list := time.NewTicker(listEvery + chance.N(listEvery/2))
	defer list.Stop()
	for !j.over(ctx) {
		d := j.step(ctx)
		if d == 0 {
			select {
			case err := <-f.ended:
				return true, err
			default:
				continue
			}
		}
		t := time.NewTimer(d)
		select {
		case <-t.C:
		case <-j.wake:
		case <-list.C:
			err = j.check()
		case err = <-f.ended:
		case <-ending(ctx):
		}
		t.Stop()
		if err != nil {
			return true, err
		}
	}
	return true, nil
}

// open waits for the watch, which starts from now, and then reads the list.
func (f *feed) open(ctx context.Context) error {
	late := time.NewTimer(f.keeper.RequestTimeout())
	defer late.Stop()
	for waiting := true; waiting && !f.over(ctx); {
		select {
		case <-f.created:
			waiting = false
		case err := <-f.ended:
			return err
		case <-late.C: // the connection stands, and nobody is at the other end
			f.keeper.Watch().Restart()
			return errMute
		case <-f.wake:
		case <-ending(ctx):
		}
	}
	s, err := f.list()
	if err == nil {
		f.begin(s)
	}
	return err
}

func (j *job) list() (state, error) {
	ctx, cancel := j.request()
	defer cancel()
	known := j.revision()
	resp, err := j.keeper.KV().Get(ctx, j.prefix+claims, clientv3.WithRange(j.prefix+runs))
	if err != nil {
		return state{}, err
	}
	j.rewound(known, resp.Header.Revision)
	return listed(j.prefix, resp.Header.Revision, resp.Kvs), nil
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

// check looks for what the watch should have told.
func (j *job) check() error {
	j.mu.Lock()
	quiet := len(j.state.record.Open) == 0 && len(j.state.claims) == 0
	j.mu.Unlock()
	if quiet {
		return nil
	}
	s, err := j.list()
	if err == nil {
		j.learn(s)
	}
	return err
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
