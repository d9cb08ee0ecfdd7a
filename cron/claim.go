package cron

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
)

// change is one transaction on a job: a new record, if the one it was made from still stands, and if the claim of
// slot was last written at revision claim (0: there is none).
type change struct {
	slot  int
	claim int64
	more  []clientv3.Op // beside the record
}

// commit makes a change of s. It returns the state after it, or, if something else had changed before, that state. A
// change that is sent again, since its answer was lost, succeeds at most once: it compares the record's revision.
func (j *job) commit(s *state, r record, c change) (done bool, after state, err error) {
	r.Schedule, r.Zone = j.rules.text, j.rules.zone
	text, err := json.Marshal(r)
	if err != nil {
		return false, state{}, err
	}
	all := clientv3.OpGet(j.prefix+claims, clientv3.WithRange(j.prefix+runs))
	ops := append([]clientv3.Op{clientv3.OpPut(j.prefix+main, string(text))}, c.more...)
	ctx, cancel := j.request()
	defer cancel()
	known := j.revision()
	resp, err := j.keeper.KV().Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(j.prefix+main), "=", s.modified),
			clientv3.Compare(clientv3.ModRevision(j.prefix+claimKey(c.slot)), "=", c.claim)).
		Then(append(ops, all)...).
		Else(all).
		Commit()
	if err != nil {
		return false, state{}, err
	}
	j.rewound(known, resp.Header.Revision)
	kvs := resp.Responses[len(resp.Responses)-1].GetResponseRange().Kvs
	return resp.Succeeded, listed(j.prefix, resp.Header.Revision, kvs), nil
}

// claim claims a tick, as far as s is still the state, and runs it. What was sent is settled: a claim that is not answered until
// it is too late is made to fail, by the same record's being written otherwise.
func (j *job) claim(ctx context.Context, s *state, tick open) {
	e := j.epoch(ctx)
	if e == nil || !j.sched.enter() {
		return
	}
	begun := false
	defer func() {
		if !begun {
			j.sched.leave()
		}
	}()
	tick.Claim, tick.Slot, tick.By, tick.Failed = j.sched.claimID(), s.freeSlot(), j.sched.by, ""
	tick.Started = j.sched.now().UTC().Truncate(time.Millisecond)
	lease := e.Take(ctx)
	defer e.Give(lease) // a run counts for itself
	p, err := j.claiming(s, tick, lease)
	for sent, failed := false, 1; err == nil; failed++ {
		if !j.sched.gate.enter(e) {
			return
		}
		now, moved := j.movedOn(s)
		late := j.tooLate(tick)
		if moved || late && !sent {
			j.sched.gate.leave()
			if moved { // somebody was faster, or our own claim has got through
				begun = j.claimed(ctx, e, &now, tick, p.missed)
			}
			return
		}
		if late {
			if p, err = j.missing(s, tick); err != nil {
				j.sched.gate.leave()
				return
			}
		}
		var after state
		var done bool
		done, after, err = j.commit(s, p.record, p.change)
		j.sched.gate.leave()
		sent = true
		switch {
		case err == nil:
			// Also where it did not succeed now it may have before, when the answer was lost.
			if begun = j.claimed(ctx, e, &after, tick, p.missed); !begun && done {
				j.tell(p.missed)
			}
			j.learn(after)
			return
		case errors.Is(err, rpctypes.ErrLeaseNotFound):
			e.Gone()
			return
		}
		j.keeper.Log.Warn("cron tick not claimed yet", "job", j.name, "tick", tick.Scheduled, "error", err)
		// The end of ctx does not end this: the claim may stand, and somebody has to run it.
		if !j.again(e, failed) {
			return
		}
		if etcd.Final(err) { // a claim that stands all the same is adopted
			j.pause(ctx, nap)
			return
		}
		err = nil
	}
}

// claimed runs the tick if its claim stands, and tells what was missed before it.
func (j *job) claimed(ctx context.Context, e *keeper.Epoch, now *state, tick open, missed Run) bool {
	c := now.claims[tick.Slot]
	if c.id != tick.Claim {
		return false
	}
	if missed.Scheduled.Before(tick.Scheduled) {
		j.tell(missed)
	}
	j.begin(ctx, e, tick, c.create, true)
	return true
}

// proposal is what a record is to become, and what it says then of ticks that were missed, if any were.
type proposal struct {
	record record
	change
	missed Run
}

// claiming has tick claimed, and says which ticks are passed over for it.
func (j *job) claiming(s *state, tick open, lease clientv3.LeaseID) (p proposal, err error) {
	p = proposal{record: s.record, change: change{slot: tick.Slot}}
	if n := j.passedOver(s, tick); n > 0 {
		last := newest(j.rules.schedule, s.record.dealt(), tick.Scheduled.Add(-1))
		if p, err = j.missedOnes(s, tick.Slot, n, last); err != nil {
			return p, err
		}
	}
	p.record = p.record.started(tick)
	p.more = append(p.more, clientv3.OpPut(j.prefix+claimKey(tick.Slot), tick.Claim, clientv3.WithLease(lease)))
	return p, nil
}

// missing has tick passed over, and those before it.
func (j *job) missing(s *state, tick open) (proposal, error) {
	return j.missedOnes(s, tick.Slot, j.rules.between(s.record.dealt(), tick.Scheduled)+1, tick.Scheduled)
}

func (j *job) missedOnes(s *state, slot, n int, last time.Time) (proposal, error) {
	now := j.sched.now().UTC().Truncate(time.Millisecond)
	run := Run{Job: j.name, Scheduled: last, Finished: now, By: j.sched.by, Missed: n, Err: fmt.Sprintf("missed: %d up to here", n)}
	c := change{slot: slot}
	more, err := j.note(s, c, run)
	c.more = more
	return proposal{s.record.missed(run), c, run}, err
}

// passedOver is how many ticks nobody has run that come before tick.
func (j *job) passedOver(s *state, tick open) int {
	if tick.Attempt > 1 || tick.Asked != "" || j.rules.anew(s) || tick.Scheduled.Before(s.record.dealt()) {
		return 0
	}
	return j.rules.between(s.record.dealt(), tick.Scheduled)
}

// passOver tells that ticks were missed.
func (j *job) passOver(ctx context.Context, s *state, tick open) {
	tick.Slot = s.freeSlot()
	p, err := j.missing(s, tick)
	if err != nil {
		return
	}
	done, after, err := j.commit(s, p.record, p.change)
	if err != nil {
		j.keeper.Log.Warn("missed cron ticks not recorded yet", "job", j.name, "ticks", p.missed.Missed, "error", err)
		j.pause(ctx, nap)
		return
	}
	if done {
		j.tell(p.missed)
	}
	j.learn(after)
}

// tell tells that ticks were missed, if any were.
func (j *job) tell(missed Run) {
	if missed.Missed == 0 {
		return
	}
	j.keeper.Log.Warn("cron ticks were missed", "job", j.name, "ticks", missed.Missed, "last", missed.Scheduled)
	j.keeper.Missed("cron", j.name, missed.Missed)
}

// tooLate says that a tick may not start any more.
func (j *job) tooLate(tick open) bool {
	return tick.Attempt == 1 && tick.Asked == "" && j.sched.now().After(j.rules.until(tick.Scheduled))
}

// movedOn is the state that is known by now, and whether it is another one than s.
func (j *job) movedOn(s *state) (state, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.state, j.state.revision >= s.revision && j.state.modified != s.modified
}

// gate bounds how many claims of a Scheduler are on their way at a time. Whoever waits there finds out that others were faster
// without a request.
type gate chan struct{}

func newGate() gate { return make(gate, 8) }

func (g gate) enter(e *keeper.Epoch) bool {
	select {
	case g <- struct{}{}:
		return true
	case <-e.Done():
		return false
	}
}

func (g gate) leave() { <-g }

// epoch is one with enough time left for a claim, or nil if there is none for now.
func (j *job) epoch(ctx context.Context) *keeper.Epoch {
	ctx, cancel := context.WithTimeout(ctx, nap)
	defer cancel()
	e, err := j.keeper.Live(ctx)
	if err != nil {
		return nil
	}
	fresh, err := e.Fresh()
	if err == nil && !fresh {
		err = e.Renew(ctx)
	}
	if err != nil {
		return nil
	}
	return e
}

// again waits before a request is repeated that only makes sense under e. It returns false once that is lost.
func (j *job) again(e *keeper.Epoch, failed int) bool {
	return etcd.SleepUnless(context.Background(), etcd.Prompt.Wait(failed), e.Done()) && e.Err() == nil
}

// adopt runs a tick that was claimed here by a request that seemed to have failed.
func (j *job) adopt(ctx context.Context, s *state, tick open) {
	c := s.claims[tick.Slot]
	e := j.epoch(context.WithoutCancel(ctx))
	if e == nil {
		return
	}
	if !e.Has(clientv3.LeaseID(c.lease)) { // it ends with its lease
		j.pause(ctx, etcd.Steady.Longest)
		return
	}
	j.begin(ctx, e, tick, c.create, false)
}

// errGone is the end of a run of which nobody knows how it ended.
const errGone = "the runner lost its claim: it died, or was cut off from etcd"

// bury records the end of a run whose claim is gone. If there are retries left, the tick waits for the next.
func (j *job) bury(ctx context.Context, s *state, tick open) {
	run := Run{Job: j.name, Scheduled: tick.Scheduled, Started: tick.Started, By: tick.By, Err: errGone, Attempt: tick.Attempt}
	c := change{slot: tick.Slot, claim: s.claims[tick.Slot].modify}
	more, err := j.note(s, c, run)
	if err != nil {
		return
	}
	c.more = more
	_, after, err := j.commit(s, s.record.ended(tick, run, true), c)
	if err != nil {
		j.keeper.Log.Warn("end of a cron run not recorded yet", "job", j.name, "tick", tick.Scheduled, "error", err)
		j.pause(ctx, nap)
		return
	}
	j.learn(after)
}

// note puts a run among the last ones and deletes its claim.
func (j *job) note(s *state, c change, run Run) ([]clientv3.Op, error) {
	text, err := json.Marshal(run)
	if err != nil {
		return nil, err
	}
	ops := []clientv3.Op{clientv3.OpPut(j.prefix+runKey(s.record.Runs), string(text))}
	if c.claim != 0 {
		ops = append(ops, clientv3.OpDelete(j.prefix+claimKey(c.slot)))
	}
	return ops, nil
}
