package registry

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
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
	eventually(t, "that to be over", func() bool { return len(rosterOf(s.Keeper()).all()) == 0 })
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
		if got := (rival{1, c.left, at}).renewed(c.now, at.Add(c.after)); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}
