package registry

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/session"
)

func TestLiveSessionKeepsItsID(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), service(t)
	s := opened(t, client, session.WithTTL(3*time.Second), session.WithName("first"))
	registered(t, s, name, Instance{Addr: "10.0.0.1:80"})
	if _, err := Register(t.Context(), s, name, Instance{Addr: "10.0.0.1:80"}); !errors.Is(err, ErrDuplicate) {
		t.Errorf("in one session: %v", err)
	}
	_, err := Register(t.Context(), opened(t, client), name, Instance{Addr: "10.0.0.1:80"})
	if !errors.Is(err, ErrDuplicate) || !strings.Contains(err.Error(), "first") || !strings.Contains(err.Error(), `"10.0.0.1:80"`) {
		t.Errorf("in another: %v", err)
	}
	if kv := read(t, client, "services/"+name+"/10.0.0.1:80"); clientv3.LeaseID(kv.Lease) != s.Lease() {
		t.Error("the entry is another session's")
	}
	if _, err := client.Put(t.Context(), "services/"+name+"/x", `{"Addr":"10.0.0.1:80"}`); err != nil {
		t.Fatal(err)
	}
	if _, err = Register(t.Context(), s, name, Instance{ID: "x", Addr: "10.0.0.1:80"}); !errors.Is(err, ErrDuplicate) || !strings.Contains(err.Error(), "without a lease") {
		t.Errorf("over an entry that belongs to nobody: %v", err)
	}
}

// A service that has crashed and come back does not vanish when the lease of the crashed one ends.
func TestDeadPredecessorIsOverwrittenWithoutABlink(t *testing.T) {
	t.Parallel()
	client, name := etcdtest.Shared(t).Client(t), service(t)
	lease, err := client.Grant(t.Context(), 8)
	if err != nil {
		t.Fatal(err)
	}
	key := "services/" + name + "/10.0.0.1:80"
	if _, err := client.Put(t.Context(), key, `{"Addr":"10.0.0.1:80"}`, clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	heard := events(t, client, key)
	start := time.Now()
	registered(t, opened(t, client), name, Instance{Addr: "10.0.0.1:80"})
	if took := time.Since(start); took > 7500*time.Millisecond || took < 4*time.Second {
		t.Errorf("took %v", took)
	}
	time.Sleep(time.Until(start.Add(10 * time.Second))) // the old lease ends
	for len(heard) > 0 {
		if ev := <-heard; ev.Type == clientv3.EventTypeDelete {
			t.Error("it has vanished for a moment")
		}
	}
}

// A new leader of etcd starts all leases anew, and that looks like a renewal.
func TestRestartOfEtcdMakesNobodyADuplicateOfTheDead(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	client, name := m.Client(t), service(t)
	lease, err := client.Grant(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Put(t.Context(), "services/"+name+"/10.0.0.1:80", `{"Addr":"10.0.0.1:80"}`, clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	s := opened(t, client)
	etcdtest.Eventually(t, 10*time.Second, "some of its time gone", func() bool {
		resp, err := client.TimeToLive(t.Context(), lease.ID)
		return err == nil && resp.TTL < 7
	})
	done := make(chan error, 1)
	go func() { _, err := Register(t.Context(), s, name, Instance{Addr: "10.0.0.1:80"}); done <- err }()
	time.Sleep(time.Second) // so that it has looked
	m.Restart(t)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestRegisterAfterOneThatIsTakenBackWaitsForThat(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), service(t)
	p := etcdtest.NewProxy(t, m)
	s := opened(t, p.Client(t))
	for range 300 {
		r := registered(t, s, name, Instance{Addr: "10.0.0.1:80"})
		if err := r.Deregister(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	p.Blackhole()
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if _, err := Register(ctx, s, name, Instance{Addr: "10.0.0.1:80"}); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrDuplicate) {
			t.Errorf("%v", err)
		}
		cancel()
	}
	p.Heal()
	registered(t, s, name, Instance{Addr: "10.0.0.1:80"})
}

func TestDeadPredecessorIsWaitedFor(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), service(t)
	lease, err := client.Grant(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Put(t.Context(), "services/"+name+"/10.0.0.1:80", `{"Addr":"10.0.0.1:80"}`, clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	s := opened(t, client)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Register(ctx, s, name, Instance{Addr: "10.0.0.1:80"}); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrDuplicate) {
		t.Errorf("while it is not known whether it lives: %v", err)
	}
	eventually(t, "that to be over", func() bool { return len(rosterOf(keeper.Of(s)).all()) == 0 })
	r := registered(t, s, name, Instance{Addr: "10.0.0.1:80"})
	if err := r.Registered(); err != nil {
		t.Error(err)
	}
}

func TestIDThatAnotherTookMeanwhileIsADuplicateUntilItGoes(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), service(t)
	s, other := short(t, client), short(t, client)
	r := registered(t, s, name, Instance{Addr: "10.0.0.1:80"})
	key := "services/" + name + "/10.0.0.1:80"
	if _, err := client.Put(t.Context(), key, `{"Addr":"10.0.0.1:80"}`, clientv3.WithLease(other.Lease())); err != nil {
		t.Fatal(err)
	}
	eventually(t, "to know it", func() bool { return errors.Is(r.Registered(), ErrDuplicate) })
	if kv := read(t, client, key); clientv3.LeaseID(kv.Lease) != other.Lease() {
		t.Error("the two fight")
	}
	if err := other.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "to be registered", func() bool { return r.Registered() == nil })
}

func TestRenewalIsTold(t *testing.T) {
	at := time.Now()
	for what, c := range map[string]struct {
		left, now int64
		after     time.Duration
		want      bool
	}{
		"nothing yet":            {9, 9, 300 * time.Millisecond, false},
		"a second less":          {9, 8, 900 * time.Millisecond, false},
		"more than before":       {9, 14, 300 * time.Millisecond, true},
		"as before, in time":     {1, 1, 900 * time.Millisecond, false},
		"as before, a while ago": {1, 1, 1100 * time.Millisecond, true},
		"less, as it should be":  {9, 4, 5 * time.Second, false},
		"less, but too much":     {9, 6, 5 * time.Second, true},
	} {
		if got := (rival{lease: 1, left: c.left, at: at}).renewed(c.now, at.Add(c.after)); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}
