package cron

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keeper"
)

// change is one transaction on a job: a new record, if the one it was made from still stands, and if the claim of
// slot was last written at revision claim (0: there is none).
type change struct {
	slot  int
	claim int64
	more  []clientv3.Op // beside the record
}

// commit makes a change of s. It answers the state after it, or, if something else had changed before, that state. A
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
	resp, err := j.keeper.Client.Txn(ctx).
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

// claim claims a tick, as far as s is still the state, and runs it.
func (j *job) claim(ctx context.Context, s *state, tick open) {
	e := j.epoch(ctx)
	if e == nil {
		return
	}
	tick.Claim, tick.Slot, tick.By, tick.Failed = j.sched.claimID(), s.freeSlot(), j.sched.by, ""
	tick.Started = j.sched.now().UTC().Truncate(time.Millisecond)
	put := clientv3.OpPut(j.prefix+claimKey(tick.Slot), tick.Claim, clientv3.WithLease(e.ID()))
	r := s.record.started(tick)
	for wait := firstWait; ; wait = min(2*wait, maxWait) {
		_, after, err := j.commit(s, r, change{slot: tick.Slot, more: []clientv3.Op{put}})
		switch {
		case err == nil:
			// Also where it did not succeed now it may have before, when the answer was lost.
			if c := after.claims[tick.Slot]; c.id == tick.Claim {
				j.begin(ctx, e, tick, c.create)
			}
			j.learn(after)
			return
		case errors.Is(err, rpctypes.ErrLeaseNotFound):
			e.Gone()
			return
		}
		j.keeper.Log.Warn("cron tick not claimed yet", "job", j.name, "tick", tick.Scheduled, "error", err)
		// The end of ctx does not end this: the claim may stand, and somebody has to run it.
		if !j.again(e, wait) {
			return
		}
		if keeper.Final(err) { // a claim that stands all the same is adopted
			j.pause(ctx, nap)
			return
		}
	}
}

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

// again waits before a request is repeated that only makes sense under e. It answers false once that is lost.
func (j *job) again(e *keeper.Epoch, wait time.Duration) bool {
	t := time.NewTimer(wait/2 + rand.N(wait))
	defer t.Stop()
	select {
	case <-t.C:
	case <-e.Done():
	}
	return e.Err() == nil
}

// adopt runs a tick that was claimed here by a request that seemed to have failed.
func (j *job) adopt(ctx context.Context, s *state, tick open) {
	c := s.claims[tick.Slot]
	e := j.epoch(context.WithoutCancel(ctx))
	if e == nil {
		return
	}
	if int64(e.ID()) != c.lease { // it ends with its lease
		j.pause(ctx, maxWait)
		return
	}
	j.begin(ctx, e, tick, c.create)
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
