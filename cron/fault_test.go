package cron

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

func TestClaimWhoseAnswerIsLostIsRunOnceAndByUs(t *testing.T) {
	t.Parallel()
	client, name, b := etcdtest.Shared(t).Client(t), etcdtest.Name(t), &book{}
	p := etcdtest.NewProxy(t, etcdtest.Shared(t))
	c := newClock("2026-01-01T11:59:59.99Z")
	s := c.process(t, p.Client(t), session.WithTTL(60*time.Second))
	add(t, s, name, far, b.job(0, nil), WithRetries(3))
	run(t, s)
	following(t, s)
	p.DropAnswers()
	c.forward(10 * time.Millisecond)
	c.until(t, "the claim in etcd", func() bool { return len(claimKeys(t, client, name)) == 1 })
	if b.len() != 0 {
		t.Error("run before the claim was known")
	}
	p.Heal()
	c.until(t, "the end", func() bool { return len(history(t, s, name)) == 1 })
	if h := history(t, s, name); h[0].Attempt != 1 || h[0].Err != "" || b.len() != 1 {
		t.Errorf("%+v, %d runs", h, b.len())
	}
}

func TestEndWhoseAnswerIsLostIsRecordedOnce(t *testing.T) {
	t.Parallel()
	client, name, b := etcdtest.Shared(t).Client(t), etcdtest.Name(t), &book{}
	p := etcdtest.NewProxy(t, etcdtest.Shared(t))
	c := newClock("2026-01-01T11:59:59.99Z")
	s := c.process(t, p.Client(t), session.WithTTL(60*time.Second))
	add(t, s, name, far, b.job(0, func(context.Context, Tick) error { p.DropAnswers(); return nil }), WithRetries(3))
	run(t, s)
	following(t, s)
	c.forward(10 * time.Millisecond)
	other := New(openSession(t, client))
	c.until(t, "the end", func() bool { return len(history(t, other, name)) == 1 })
	p.Heal()
	eventually(t, "nothing running here", func() bool {
		s.jobs[name].mu.Lock()
		defer s.jobs[name].mu.Unlock()
		return len(s.jobs[name].running) == 0
	})
	for range 100 {
		c.forward(20 * time.Millisecond)
		time.Sleep(5 * time.Millisecond)
	}
	if h := history(t, s, name); len(h) != 1 || b.len() != 1 {
		t.Errorf("%+v, %d runs", h, b.len())
	}
}

// A claim that stands although it seemed refused is found and run, also where the request was given up.
func TestClaimOfOursThatNobodyRunsIsAdopted(t *testing.T) {
	t.Parallel()
	client, name, b := etcdtest.Shared(t).Client(t), etcdtest.Name(t), &book{}
	c := newClock("2026-01-01T12:00:03Z")
	s := c.process(t, client)
	add(t, s, name, far, b.job(0, nil))
	j := s.jobs[name]
	tick := open{Scheduled: at("2026-01-01T12:00:00Z"), Attempt: 1, Claim: s.claimID(), By: s.by}
	put := clientv3.OpPut(j.prefix+claimKey(0), tick.Claim, clientv3.WithLease(s.keeper.Current().ID()))
	if done, _, err := j.commit(&state{}, record{}.started(tick), change{more: []clientv3.Op{put}}); !done || err != nil {
		t.Fatal(done, err)
	}
	run(t, s)
	eventually(t, "the end", func() bool { return len(history(t, s, name)) == 1 })
	if b.len() != 1 || history(t, s, name)[0].Err != "" {
		t.Errorf("%+v", history(t, s, name))
	}
}

func TestOutageDelaysAndNeverDoubles(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	name, b := etcdtest.Name(t), &book{}
	for i := range 2 {
		s := process(t, m.Client(t), 0, session.WithTTL(3*time.Second))
		add(t, s, name, "@every 1s", b.job(i, nil), WithMissed(RunAll, time.Minute))
		run(t, s)
	}
	for range 2 {
		before := b.len()
		eventually(t, "a tick", func() bool { return b.len() > before })
		m.Kill()
		time.Sleep(2200 * time.Millisecond) // the outage
		m.Restart(t)
		before = b.len()
		eventually(t, "ticks again", func() bool { return b.len() >= before+3 })
	}
	for i, tick := range b.all()[1:] {
		if !tick.Scheduled.Equal(b.all()[i].Scheduled.Add(time.Second)) {
			t.Errorf("%v after %v", tick.Scheduled, b.all()[i].Scheduled)
		}
	}
}

func TestDeathIsNoticedAtOnceAlsoAfterTheWatchWasBroken(t *testing.T) {
	t.Parallel()
	client, name, b := etcdtest.Shared(t).Client(t), etcdtest.Name(t), &book{}
	p := etcdtest.NewProxy(t, etcdtest.Shared(t))
	first, second := process(t, client, 0), process(t, p.Client(t), 0, session.WithTTL(30*time.Second))
	stop := make(chan error, 2)
	add(t, first, name, "@every 1s", b.job(0, untilLost(stop)), WithRetries(1))
	run(t, first)
	eventually(t, "a run", func() bool { return b.len() == 1 })
	add(t, second, name, far, b.job(1, nil))
	run(t, second)
	following(t, second)
	p.Cut()
	etcdtest.Compact(t, client)
	p.Heal()
	before := second.jobs[name].revision()
	if _, err := client.Put(t.Context(), "fenceline/cron/"+name+"/claim/none", ""); err != nil { // an event to look for
		t.Fatal(err)
	}
	eventually(t, "the watch", func() bool { return second.jobs[name].revision() > before })
	lost := time.Now()
	if _, err := client.Revoke(t.Context(), first.keeper.Current().ID()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another attempt", func() bool { return b.len() > 1 })
	if took := time.Since(lost); took > 900*time.Millisecond {
		t.Errorf("after %v", took)
	}
}

func TestRecordThatCannotBeReadIsLeftAlone(t *testing.T) {
	t.Parallel()
	client, name, b := etcdtest.Shared(t).Client(t), etcdtest.Name(t), &book{}
	key := "fenceline/cron/" + name + "/record"
	if _, err := client.Put(t.Context(), key, "not JSON"); err != nil {
		t.Fatal(err)
	}
	c, _ := hourly(t, name, []func(context.Context, Tick) error{b.job(0, nil)})
	for range 50 {
		c.forward(20 * time.Millisecond)
		time.Sleep(5 * time.Millisecond)
	}
	resp, err := client.Get(t.Context(), key)
	if err != nil || len(resp.Kvs) != 1 || string(resp.Kvs[0].Value) != "not JSON" || b.len() != 0 {
		t.Errorf("%v %v, %d runs", resp, err, b.len())
	}
	if _, err := client.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	c.until(t, "a run", func() bool { return b.len() == 1 })
}

func TestRecordDeletedDuringARunIsMadeAgain(t *testing.T) {
	t.Parallel()
	client, name, b := etcdtest.Shared(t).Client(t), etcdtest.Name(t), &book{}
	c, all := hourly(t, name, []func(context.Context, Tick) error{b.job(0, func(context.Context, Tick) error {
		_, err := client.Delete(context.Background(), "fenceline/cron/"+name+"/record")
		return err
	})})
	c.until(t, "the end", func() bool { return len(history(t, all[0], name)) == 1 })
	for range 50 {
		c.forward(20 * time.Millisecond)
		time.Sleep(5 * time.Millisecond)
	}
	if b.len() != 1 {
		t.Errorf("%d runs", b.len())
	}
}
