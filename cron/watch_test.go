package cron

import (
	"errors"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

func kv(key, value string, revision int64) *mvccpb.KeyValue {
	return &mvccpb.KeyValue{Key: []byte("p/" + key), Value: []byte(value), CreateRevision: revision, ModRevision: revision}
}

func put(key, value string, revision int64) *mvccpb.Event {
	return &mvccpb.Event{Type: mvccpb.Event_PUT, Kv: kv(key, value, revision)}
}

func gone(key string, revision int64) *mvccpb.Event {
	return &mvccpb.Event{Type: mvccpb.Event_DELETE, Kv: kv(key, "", revision)}
}

func TestEventsAreAppliedOnceAndInTheirOrder(t *testing.T) {
	s := listed("p/", 10, []*mvccpb.KeyValue{kv("claim/0", "a", 9), kv("claim/12", "b", 9), kv("claim/x", "c", 9), kv("record", `{"runs":3}`, 8)})
	if len(s.claims) != 2 || s.claims[12].id != "b" || s.record.Runs != 3 || s.modified != 8 {
		t.Fatalf("%+v", s)
	}
	next := s.apply("p/", []*mvccpb.Event{gone("claim/12", 10), gone("claim/0", 11), put("record", `{"runs":4}`, 11), put("claim/1", "d", 12)})
	if len(next.claims) != 2 || next.claims[12].id != "b" || next.claims[1].id != "d" || next.record.Runs != 4 || next.revision != 12 {
		t.Errorf("%+v", next)
	}
	if len(s.claims) != 2 || s.claims[0].id != "a" || s.record.Runs != 3 {
		t.Errorf("the state before was changed: %+v", s)
	}
	if last := next.apply("p/", []*mvccpb.Event{gone("record", 13)}); last.modified != 0 || last.record.Runs != 0 {
		t.Errorf("%+v", last)
	}
}

// followed is a job that has no etcd.
func followed(t *testing.T) *job {
	c := process(t, etcdtest.Shared(t).Client(t), 0)
	add(t, c, etcdtest.Name(t), far, nothing)
	for _, j := range c.jobs {
		j.prefix = "p/"
		return j
	}
	return nil
}

func TestOlderStatesAreNotBelieved(t *testing.T) {
	j := followed(t)
	j.learn(listed("p/", 20, []*mvccpb.KeyValue{kv("claim/0", "a", 19)}))
	j.learn(listed("p/", 18, nil))
	j.Load(17, nil)
	if len(j.state.claims) != 1 || j.revision() != 20 {
		t.Errorf("%+v", j.state)
	}
}

func TestJobDoesNothingWhileItDoesNotSeeEtcd(t *testing.T) {
	j := followed(t)
	for _, step := range []struct {
		what string
		do   func()
		seen bool
	}{
		{"before the first list", func() {}, false},
		{"listed", func() { j.Load(10, nil) }, true},
		{"the watch has ended", func() { j.Trouble(errors.New("away")) }, false},
		{"listed again", func() { j.Load(20, nil) }, true},
	} {
		step.do()
		if unseen, _ := j.sight(); (unseen == nil) != step.seen {
			t.Errorf("%s: %v", step.what, unseen)
		}
	}
}
