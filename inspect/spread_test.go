package inspect_test

import (
	"fmt"
	"testing"

	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// A session that holds much has several leases, and is one all the same.
func TestSessionWithManyHoldsIsOne(t *testing.T) {
	t.Parallel()
	client, namespace := etcdtest.Shared(t).Client(t), etcdtest.Name(t)+"/"
	s, err := session.Open(t.Context(), client, session.WithNamespace(namespace))
	if err != nil {
		t.Fatal(err)
	}
	const held = 400
	for i := range held {
		if _, err := lock.New(s, fmt.Sprint(i)).Acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	found, err := inspect.Read(t.Context(), client, inspect.WithNamespace(namespace))
	if err != nil {
		t.Fatal(err)
	}
	if len(found.Sessions) != 1 {
		t.Fatalf("%d sessions", len(found.Sessions))
	}
	one := found.Sessions[0]
	if len(one.Holds) != held || one.More == 0 || one.Lease != fmt.Sprintf("%x", int64(s.Lease())) {
		t.Errorf("it holds %d, has lease %s and %d more; want %d, %x", len(one.Holds), one.Lease, one.More, held, int64(s.Lease()))
	}
	for _, line := range found.Lines {
		for i := range line.Entries {
			if line.Entries[i].Session == nil {
				t.Fatalf("%s: whose it is, is not known", line.Name)
			}
		}
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	history, err := inspect.History(t.Context(), client, inspect.Lock, fmt.Sprint(held-1), inspect.WithNamespace(namespace))
	if err != nil || len(history) != 1 || history[0].End != inspect.EndClosed {
		t.Errorf("the end of what hung on a further lease: %v, %v", history, err)
	}
}
