package etcdtest

import (
	"testing"
)

func TestRestartKeepsData(t *testing.T) {
	m := Start(t)
	c := m.Client(t)
	if _, err := c.Put(t.Context(), "a", "b"); err != nil {
		t.Fatal(err)
	}
	m.Restart(t)
	r, err := c.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Kvs) != 1 {
		t.Fatalf("got %v", r.Kvs)
	}
}
