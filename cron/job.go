package cron

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/fenceline/fenceline/internal/chance"
	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
)

// nap is the longest sleep: timers stand still while the machine sleeps, and wall clocks are put forward and back.
const nap = time.Second

// job is one job in one Scheduler. Its loop follows etcd, does what rules.next says, and knows no rule.
type job struct {
	sched   *Scheduler
	keeper  *keeper.Keeper
	name    string
	prefix  string
	loc     *time.Location
	fn      func(context.Context, Tick) error
	rules   rules
	timeout time.Duration // of a run; 0: none

	wake chan struct{} // something below has changed

	mu      sync.Mutex
	state   state
	running map[string]*running // here, by claim
	spent   map[string]bool     // claims that have been run and may stand for a while yet
	since   time.Time           // by the wall clock; see rules.due
	busy    bool                // no tick may be started, as far as is known
	unseen  error               // why state may be old; nil: it is not
	known   bool                // there was a list
	before  int64               // as of which revision state was when the last list was asked for

	// The following are the loop's.
	after map[attempt]time.Time
	turn  turn
	share float64 // of the last claims, those of this Scheduler
	seen  string  // the last claim that share counts
	stall string  // why no tick is run here, as was told last
	held  bool    // ticks were left to others, since the clock here is ahead
}

// run is the loop. It ends with ctx, once nothing runs here any more, or with an error that will not pass.
func (j *job) run(ctx context.Context) error {
	j.mu.Lock()
	j.since = j.sched.now().Round(0)
	j.mu.Unlock()
	defer j.follow()()
	for !j.over(ctx) {
		d := nap
		unseen, known := j.sight()
		switch {
		case unseen == nil:
			d = j.step(ctx)
		case refused(unseen, known) && ctx.Err() == nil:
			return j.keeper.Explain(unseen, j.prefix)
		}
		if d == 0 {
			continue
		}
		t := time.NewTimer(d)
		select {
		case <-t.C:
		case <-j.wake:
		case <-ending(ctx):
		}
		t.Stop()
	}
	return nil
}

// refused says that it is no use going on: somebody has to grant a permission first. Once the job was followed, that
// may be a mistake that somebody corrects; only a closed client is not.
func refused(err error, known bool) bool {
	return err != nil && etcd.Final(err) && (!known || errors.Is(err, grpc.ErrClientConnClosing))
}

// over says that ctx has ended and nothing runs here.
func (j *job) over(ctx context.Context) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return ctx.Err() != nil && len(j.running) == 0
}

// pause returns false when the job is over.
func (j *job) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	for !j.over(ctx) {
		select {
		case <-t.C:
			return true
		case <-j.wake:
		case <-ending(ctx):
		}
	}
	return false
}

// ending is ctx.Done, but for one that has ended: it is known then.
func ending(ctx context.Context) <-chan struct{} {
	if ctx.Err() != nil {
		return nil
	}
	return ctx.Done()
}

// step does what there is to do, and says for how long nothing will be, if etcd tells nothing new.
func (j *job) step(ctx context.Context) time.Duration {
	j.mu.Lock()
	s, now := j.state, j.sched.now()
	if wall := now.Round(0); wall.Before(j.since) { // it was put back
		j.since = wall
	}
	h := here{now: now, mine: j.sched.mine, running: map[string]bool{}, spent: map[string]bool{}, last: ctx.Err() != nil,
		since: j.since, full: j.sched.full()}
	for id := range j.running {
		h.running[id] = true
	}
	maps.DeleteFunc(j.spent, func(id string, _ bool) bool { return s.revision > 0 && !s.isOpen(id) })
	maps.Copy(h.spent, j.spent)
	j.mu.Unlock()

	j.look(&s, h)
	h.after = j.after
	next := j.rules.next(&s, h)
	odd := next.do == start && j.odd(&s, next.tick)
	ahead := j.sched.clock.ahead(h.now) > 0
	held := ahead && (odd || next.do == passOver)
	j.held = ahead && (held || j.held)
	j.stalled(j.obstacle(&s, h.now))
	if held {
		return nap
	}
	if next.do == wait {
		j.turn = turn{}
		if next.at.IsZero() {
			return nap
		}
		return min(nap, max(0, next.at.Sub(h.now)))
	}
	if !j.turn.is(next) {
		j.turn = turn{next, j.notBefore(next.tick, h.now).Add(j.courtesy(next, odd))}
	}
	if d := j.turn.at.Sub(h.now); d > 0 {
		return min(nap, d)
	}
	j.turn = turn{}
	j.do(ctx, &s, next)
	return 0
}

// look keeps after and share up.
func (j *job) look(s *state, h here) {
	if id := s.record.Claim; id != j.seen {
		j.seen = id
		j.share *= 0.8
		if strings.HasPrefix(id, h.mine) {
			j.share += 0.2
		}
	}
	known := j.after
	j.after = map[attempt]time.Time{}
	for _, o := range s.record.Open {
		if o.Claim != "" {
			continue
		}
		at, ok := known[attemptOf(o)]
		if !ok {
			at = h.now.Add(backoff(o))
		}
		j.after[attemptOf(o)] = at
	}
}

// turn is what is to be done next, and when.
type turn struct {
	step
	at time.Time
}

func (t turn) is(next step) bool {
	return t.do == next.do && t.tick.Claim == next.tick.Claim && attemptOf(t.tick) == attemptOf(next.tick)
}

// courtesy is for how long others go first: longer, the more of the last ticks were ours, so that a fleet whose clocks
// agree to some milliseconds shares them. Whoever has failed waits longer still, and so does whoever finds that nobody has run
// the ticks before: the clock here may be ahead, and those whose clocks are not are to show it.
func (j *job) courtesy(next step, odd bool) time.Duration {
	switch next.do {
	case adopt:
		return 0
	case passOver: // no hurry: one of many is to do it, and one whose clock is ahead is to see a claim of others' first
		period := j.rules.schedule.Next(next.tick.Scheduled).Sub(next.tick.Scheduled)
		return min(period, time.Minute) + chance.N(nap)
	}
	d := time.Duration(j.share*float64(25*time.Millisecond)) + chance.N(3*time.Millisecond)
	if strings.HasPrefix(next.tick.Failed, j.sched.mine) {
		d += 100 * time.Millisecond
	}
	if odd {
		d += nap / 2
	}
	return d
}

// notBefore is now, or later for a tick that is put off.
func (j *job) notBefore(tick open, now time.Time) time.Time {
	if tick.Attempt > 1 || tick.Asked != "" {
		return now
	}
	return latest(now, tick.Scheduled.Add(j.rules.delay(j.name, tick.Scheduled)))
}

// backoff is the wait before another attempt. Everybody counts it from when he learnt of the failure, so that no two
// clocks are compared.
func backoff(o open) time.Duration {
	if o.Failed == "" {
		return 0
	}
	return min(time.Minute, 500*time.Millisecond<<min(max(o.Attempt-2, 0), 10))
}

func (j *job) do(ctx context.Context, s *state, next step) {
	switch next.do {
	case start:
		j.claim(ctx, s, next.tick)
	case adopt:
		j.adopt(ctx, s, next.tick)
	case bury:
		j.bury(ctx, s, next.tick)
	case passOver:
		j.passOver(ctx, s, next.tick)
	}
}
