package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/session"
)

func TestRegisteredInstanceIsFoundUntilItIsDeregistered(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), service(t)
	s := opened(t, client)
	r := registered(t, s, name, Instance{Addr: "10.0.0.1:80", Zone: "a", Meta: map[string]string{"k": "v"}})
	registered(t, s, name, Instance{ID: "b", Addr: "10.0.0.2:80"})
	ins, err := Lookup(t.Context(), client, name)
	if err != nil || len(ins) != 2 || ins[0].ID != "10.0.0.1:80" || ins[0].Zone != "a" || ins[0].Meta["k"] != "v" || ins[0].Weight != 1 || ins[1].ID != "b" {
		t.Errorf("%+v, %v", ins, err)
	}
	if kv := read(t, client, "services/"+name+"/b"); clientv3.LeaseID(kv.Lease) != s.Lease() {
		t.Errorf("under lease %x", kv.Lease)
	}
	if err := r.Registered(); err != nil {
		t.Error(err)
	}
	if err := r.Deregister(t.Context()); err != nil {
		t.Error(err)
	}
	if ins, _ := Lookup(t.Context(), client, name); len(ins) != 1 {
		t.Errorf("%+v", ins)
	}
	if err := r.Deregister(t.Context()); !errors.Is(err, session.ErrNotHeld) {
		t.Error(err)
	}
	if err := r.Update(t.Context(), Instance{Addr: "10.0.0.1:80"}); !errors.Is(err, session.ErrNotHeld) {
		t.Error(err)
	}
	registered(t, s, name, Instance{Addr: "10.0.0.1:80"}) // its ID is free again
}

func TestLostLeaseIsFollowedByAnotherRegistration(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), service(t)
	s := short(t, client)
	r := registered(t, s, name, Instance{Addr: "10.0.0.1:80"})
	for range 2 {
		lost := s.Lease()
		if _, err := client.Revoke(t.Context(), lost); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the loss to be known", func() bool { return errors.Is(r.Registered(), session.ErrLost) || s.Lease() != lost })
		eventually(t, "another registration", func() bool { return r.Registered() == nil })
		if kv := read(t, client, "services/"+name+"/10.0.0.1:80"); kv == nil || clientv3.LeaseID(kv.Lease) != s.Lease() {
			t.Errorf("%v", kv)
		}
	}
}

func TestDeletedEntryIsPutBack(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), service(t)
	r := registered(t, opened(t, client), name, Instance{Addr: "10.0.0.1:80"})
	key := "services/" + name + "/10.0.0.1:80"
	for range 3 {
		if _, err := client.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the entry", func() bool { return read(t, client, key) != nil })
	}
	eventually(t, "to know it", func() bool { return r.Registered() == nil })
}

func TestOverwrittenEntryIsPutBack(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), service(t)
	s := opened(t, client)
	registered(t, s, name, Instance{Addr: "10.0.0.1:80"})
	key := "services/" + name + "/10.0.0.1:80"
	want := string(read(t, client, key).Value)
	if _, err := client.Put(t.Context(), key, "by hand"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the entry as it was", func() bool {
		kv := read(t, client, key)
		return string(kv.Value) == want && clientv3.LeaseID(kv.Lease) == s.Lease()
	})
}

func TestRegistrationOutlivesAnOutageLongerThanItsLease(t *testing.T) {
	m := etcdtest.Start(t)
	client, name := m.Client(t), service(t)
	s := short(t, client)
	r := registered(t, s, name, Instance{Addr: "10.0.0.1:80"})
	m.Kill()
	eventually(t, "the loss to be known", func() bool { return errors.Is(r.Registered(), session.ErrLost) })
	m.Restart(t)
	eventually(t, "to be registered", func() bool { return r.Registered() == nil })
	etcdtest.Compact(t, client)
	if ins, err := Lookup(t.Context(), client, name); err != nil || len(ins) != 1 {
		t.Errorf("%v, %v", ins, err)
	}
}

func TestUpdateIsInPlace(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), service(t)
	r := registered(t, opened(t, client), name, Instance{ID: "a", Addr: "10.0.0.1:80"})
	heard := events(t, client, "services/"+name+"/")
	if err := r.Update(t.Context(), Instance{Addr: "10.0.0.2:80", Status: Draining}); err != nil {
		t.Fatal(err)
	}
	ins, err := Lookup(t.Context(), client, name)
	if err != nil || len(ins) != 1 || ins[0].Status != Draining || ins[0].ID != "a" || ins[0].Addr != "10.0.0.2:80" {
		t.Errorf("%+v, %v", ins, err)
	}
	if ev := <-heard; ev.Type != clientv3.EventTypePut || ev.IsCreate() || len(heard) > 0 {
		t.Errorf("%v, and %d more", ev, len(heard))
	}
	if err := r.Update(t.Context(), Instance{ID: "b", Addr: "10.0.0.2:80"}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

func TestUpdateDuringAnOutageIsMadeLater(t *testing.T) {
	m := etcdtest.Start(t)
	client, name := m.Client(t), service(t)
	r := registered(t, opened(t, client), name, Instance{ID: "a", Addr: "10.0.0.1:80"})
	m.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := r.Update(ctx, Instance{Addr: "10.0.0.1:80", Weight: 7}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	m.Restart(t)
	eventually(t, "the update", func() bool {
		ins, err := Lookup(t.Context(), client, name)
		return err == nil && len(ins) == 1 && ins[0].Weight == 7
	})
}

func TestLeavingIsAnnounced(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), service(t)
	s, err := session.Open(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	a := registered(t, s, name, Instance{ID: "a", Addr: "10.0.0.1:80"})
	registered(t, s, name, Instance{ID: "b", Addr: "10.0.0.1:80"})
	heard := events(t, client, "services/"+name+"/")
	if err := a.Deregister(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b"} {
		marked, gone := <-heard, <-heard
		if !strings.HasSuffix(string(marked.Kv.Key), id) || !strings.Contains(string(marked.Kv.Value), `"draining"`) || gone.Type != clientv3.EventTypeDelete {
			t.Errorf("%v, %v", marked, gone)
		}
	}
	if err := a.Registered(); !errors.Is(err, session.ErrClosed) {
		t.Error(err)
	}
}

func TestManyLeaveTogetherAtClose(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), service(t)
	s, err := session.Open(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 250 {
		registered(t, s, name, Instance{ID: fmt.Sprint(i), Addr: "10.0.0.1:80", Meta: map[string]string{"pad": strings.Repeat("x", 4000)}})
	}
	heard := events(t, client, "services/"+name+"/")
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	draining := 0
	for range 500 {
		if ev := <-heard; ev.Type == clientv3.EventTypePut && strings.Contains(string(ev.Kv.Value), `"draining"`) {
			draining++
		}
	}
	if draining != 250 {
		t.Errorf("%d were marked", draining)
	}
}

func TestCancelledRegisterLeavesNothing(t *testing.T) {
	m := etcdtest.Start(t)
	p := etcdtest.NewProxy(t, m)
	client, direct, name := p.Client(t), m.Client(t), service(t)
	s := opened(t, client)
	for i := range 30 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*100*time.Microsecond)
		r, err := Register(ctx, s, name, Instance{Addr: "10.0.0.1:80"})
		cancel()
		switch {
		case err == nil:
			if err := r.Deregister(t.Context()); err != nil {
				t.Error(err)
			}
		case !errors.Is(err, context.DeadlineExceeded):
			t.Error(err)
		}
		eventually(t, "the place", func() bool { return len(rosterOf(keeper.Of(s)).all()) == 0 })
	}
	p.DropAnswers()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := Register(ctx, s, name, Instance{Addr: "10.0.0.1:80"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	p.Heal()
	eventually(t, "the place", func() bool { return len(rosterOf(keeper.Of(s)).all()) == 0 })
	if keys := etcdtest.Keys(t, direct, "services/"+name); len(keys) != 0 {
		t.Errorf("left: %q", keys)
	}
}

func TestThousandRegistrationsAreFewLeasesAndComeBackSpread(t *testing.T) {
	m := etcdtest.Start(t)
	client, name := m.Client(t), service(t)
	s := opened(t, client)
	var rs []*Registration
	for i := range 1000 {
		rs = append(rs, registered(t, s, name, Instance{ID: fmt.Sprint(i), Addr: "10.0.0.1:80"}))
	}
	if leases := etcdtest.Leases(t, client); len(leases) > 10 {
		t.Errorf("%d leases", len(leases))
	}
	heard := events(t, client, "services/"+name+"/")
	if _, err := client.Revoke(t.Context(), s.Lease()); err != nil {
		t.Fatal(err)
	}
	var first, last time.Time
	for puts := 0; puts < 1000; {
		if ev := <-heard; ev.Type == clientv3.EventTypePut {
			if puts++; puts == 1 {
				first = time.Now()
			}
			last = time.Now()
		}
	}
	if d := last.Sub(first); d < time.Second || d > 15*time.Second {
		t.Errorf("they came back within %v", d)
	}
	for _, r := range rs {
		eventually(t, "all to know", func() bool { return r.Registered() == nil })
	}
}

func TestSpreadIsAThirdOfTheTTLAndFiveSecondsAtMost(t *testing.T) {
	for ttl, want := range map[time.Duration]time.Duration{3 * time.Second: time.Second, 15 * time.Second: 5 * time.Second, time.Hour: 5 * time.Second} {
		if got := spread(ttl, 1); got != want || spread(ttl, 0) != 0 || spread(ttl, 0.5) != want/2 {
			t.Errorf("TTL %v: %v", ttl, got)
		}
	}
}

// With a new lease, and before the entry stands under it, nothing is registered and nothing is wrong.
func TestNothingIsRegisteredBeforeEtcdHasIt(t *testing.T) {
	client := etcdtest.Shared(t).Client(t)
	s := opened(t, client)
	r := &Registration{keeper: keeper.Of(s), epoch: keeper.Of(s).Current(), everStood: true}
	if err := r.Registered(); !errors.Is(err, errOnItsWay) {
		t.Error(err)
	}
}

func TestBadInputIsRefusedBeforeAnyRequest(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), service(t)
	s := opened(t, client)
	for what, c := range map[string]struct {
		service string
		in      Instance
		opts    []Option
		want    error
		says    string
	}{
		"no port":           {name, Instance{Addr: "10.0.0.1"}, nil, ErrInvalid, `"10.0.0.1"`},
		"no host":           {name, Instance{Addr: ":80"}, nil, ErrInvalid, `":80"`},
		"no number":         {name, Instance{Addr: "a:http"}, nil, ErrInvalid, `"a:http"`},
		"port 0":            {name, Instance{Addr: "a:0"}, nil, ErrInvalid, `"a:0"`},
		"port 65536":        {name, Instance{Addr: "a:65536"}, nil, ErrInvalid, `65535`},
		"slash in ID":       {name, Instance{ID: "a/b", Addr: "a:1"}, nil, session.ErrInvalidName, `"a/b"`},
		"control in ID":     {name, Instance{ID: "a\n", Addr: "a:1"}, nil, session.ErrInvalidName, `"a\n"`},
		"no service":        {"", Instance{Addr: "a:1"}, nil, session.ErrInvalidName, "empty"},
		"slash in service":  {"a/b", Instance{Addr: "a:1"}, nil, session.ErrInvalidName, "slash"},
		"status":            {name, Instance{Addr: "a:1", Status: "gone"}, nil, ErrInvalid, `"gone"`},
		"weight":            {name, Instance{Addr: "a:1", Weight: -1}, nil, ErrInvalid, "-1"},
		"much metadata":     {name, Instance{Addr: "a:1", Meta: map[string]string{"k": strings.Repeat("x", MaxMeta)}}, nil, ErrInvalid, "65537"},
		"metadata no UTF-8": {name, Instance{Addr: "a:1", Meta: map[string]string{"k": "\xff"}}, nil, ErrInvalid, "UTF-8"},
		"no prefix":         {name, Instance{Addr: "a:1"}, []Option{WithPrefix("")}, session.ErrInvalidName, "prefix"},
	} {
		if _, err := Register(t.Context(), s, c.service, c.in, c.opts...); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := Lookup(t.Context(), client, "a/b"); !errors.Is(err, session.ErrInvalidName) {
		t.Error(err)
	}
	if keys := etcdtest.Keys(t, client, "services/"+name); len(keys) != 0 {
		t.Errorf("%q", keys)
	}
}

func TestEtcdThatIsAwayDelaysRegisterAndIsNamedWhenTimeIsUp(t *testing.T) {
	m := etcdtest.Start(t)
	client, name := m.Client(t), service(t)
	s := short(t, client)
	m.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if _, err := Register(ctx, s, name, Instance{ID: "a", Addr: "10.0.0.1:80"}); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "cannot reach etcd at "+m.Endpoint()) {
		t.Error(err)
	}
	registered := make(chan error, 1)
	go func() {
		_, err := Register(t.Context(), s, name, Instance{ID: "b", Addr: "10.0.0.1:80"})
		registered <- err
	}()
	m.Restart(t)
	if err := <-registered; err != nil {
		t.Error(err)
	}
	if ins, err := Lookup(t.Context(), client, name); err != nil || len(ins) != 1 || ins[0].ID != "b" {
		t.Errorf("%+v, %v", ins, err)
	}
}
