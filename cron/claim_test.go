package cron

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

// claimed is a job of which a tick is claimed, and nobody runs it.
func claimed(t *testing.T) (*job, open, state) {
	t.Helper()
	name := etcdtest.Name(t)
	c := process(t, etcdtest.Shared(t).Client(t), 0)
	add(t, c, name, far, nothing)
	j := c.jobs[name]
	tick := open{Scheduled: at("2026-01-01T12:00:00Z"), Attempt: 1, Claim: c.claimID(), By: c.by}
	put := clientv3.OpPut(j.prefix+claimKey(0), tick.Claim, clientv3.WithLease(c.keeper.Current().ID()))
	done, after, err := j.commit(&state{}, record{}.started(tick), change{more: []clientv3.Op{put}})
	if !done || err != nil {
		t.Fatal(done, err)
	}
	return j, tick, after
}

// As a runner would whom the news of its loss has not reached.
func TestEndIsRecordedOnlyUnderTheClaim(t *testing.T) {
	for what, harm := range map[string]func(j *job, key string) error{
		"deleted":     func(j *job, key string) error { _, err := j.keeper.Client.Delete(t.Context(), key); return err },
		"overwritten": func(j *job, key string) error { _, err := j.keeper.Client.Put(t.Context(), key, "x"); return err },
		"made again": func(j *job, key string) error {
			_, err := j.keeper.Client.Delete(t.Context(), key)
			if err == nil {
				_, err = j.keeper.Client.Put(t.Context(), key, "x")
			}
			return err
		},
	} {
		j, tick, s := claimed(t)
		if err := harm(j, j.prefix+claimKey(0)); err != nil {
			t.Fatal(err)
		}
		r := &running{job: j, tick: tick, token: s.claims[0].create}
		done, _, err := j.completeOnce(&s, r, Run{Job: j.name})
		if done || err != nil || len(history(t, j.sched, j.name)) != 0 {
			t.Errorf("%s: %v %v", what, done, err)
		}
	}
}

func TestClaimedTickCannotBeClaimedAgain(t *testing.T) {
	j, tick, s := claimed(t)
	for what, from := range map[string]*state{
		"by one who knows of nothing":   {},
		"by one who knows of the claim": &s,
	} {
		put := clientv3.OpPut(j.prefix+claimKey(0), "other")
		done, after, err := j.commit(from, from.record.started(tick), change{more: []clientv3.Op{put}})
		if done || err != nil || after.claims[0] != s.claims[0] || after.modified != s.modified {
			t.Errorf("%s: %v %v %+v", what, done, err, after)
		}
	}
}

// By its own clock the lease is lost; etcd still has it, and would take the result.
func TestRunThatLostItsLeaseHereIsNotRecorded(t *testing.T) {
	t.Parallel()
	name, b := etcdtest.Name(t), &book{}
	s := process(t, etcdtest.Shared(t).Client(t), 0, session.WithTTL(2*time.Second))
	add(t, s, name, "@every 1s", b.job(0, func(context.Context, Tick) error {
		if b.len() == 1 {
			s.keeper.Current().Gone()
		}
		return nil
	}), WithRetries(1))
	run(t, s)
	eventually(t, "another attempt", func() bool { return len(history(t, s, name)) >= 2 })
	if h := history(t, s, name); h[0].Err != errGone || h[0].Attempt != 1 || h[1].Err != "" || h[1].Attempt != 2 {
		t.Errorf("%+v", h)
	}
}

func TestWhoHasRunTheLastTicksLetsOthersGoFirst(t *testing.T) {
	j, tick, _ := claimed(t)
	next := step{do: start}
	if d := j.courtesy(next, false); d > 3*time.Millisecond {
		t.Errorf("who has run none waits for %v", d)
	}
	for i := range 20 {
		s := state{record: record{Claim: tick.Claim + string(rune('a'+i))}}
		j.look(&s, here{mine: j.sched.mine})
		j.look(&s, here{mine: j.sched.mine}) // again: it is the same claim
		if i == 0 && j.share != 0.2 {
			t.Errorf("share after one: %v", j.share)
		}
	}
	if d := j.courtesy(next, false); d < 20*time.Millisecond || d > 30*time.Millisecond {
		t.Errorf("who has run all waits for %v", d)
	}
	s := state{record: record{Claim: "other-1"}}
	j.look(&s, here{mine: j.sched.mine})
	if d := j.courtesy(next, false); d > 25*time.Millisecond {
		t.Errorf("after another's: %v", d)
	}
	if d := j.courtesy(step{do: adopt}, false); d != 0 {
		t.Errorf("before adopting: %v", d)
	}
}

// Its revisions begin again at an earlier one.
func TestClusterRestoredFromABackupIsBelieved(t *testing.T) {
	for what, ask := range map[string]func(*job){
		"list": func(j *job) {
			j.Asking()
			resp, err := j.keeper.Client.Get(t.Context(), j.prefix+claims, clientv3.WithRange(j.prefix+runs))
			if err != nil {
				t.Fatal(err)
			}
			j.Load(resp.Header.Revision, resp.Kvs)
		},
		"commit": func(j *job) {
			_, after, err := j.commit(&state{}, record{}, change{})
			if err != nil {
				t.Fatal(err)
			}
			j.learn(after)
		},
	} {
		j, _, _ := claimed(t)
		j.learn(state{revision: 1 << 40, claims: map[int]claim{}})
		ask(j)
		if j.revision() >= 1<<40 || len(j.state.claims) != 1 {
			t.Errorf("%s: %+v", what, j.state)
		}
	}
}

// A list may be asked for before a change of ours, and answered after it; etcd may have been restored before that.
func TestListThatIsOlderThanWhatATransactionBroughtIsNotBelieved(t *testing.T) {
	j, _, _ := claimed(t)
	j.learn(state{revision: 1 << 40, claims: map[int]claim{}})
	j.Trouble(errors.New("etcd was restored"))
	j.rewound(1<<40, 56)
	j.learn(state{revision: 56, claims: map[int]claim{0: {id: "ours"}}})
	j.Asking()
	j.learn(state{revision: 70, claims: map[int]claim{}}) // it was given back
	j.Load(69, []*mvccpb.KeyValue{kv("claim/0", "ours", 56)})
	if len(j.state.claims) > 0 || j.revision() != 70 {
		t.Errorf("%+v", j.state)
	}
}
