package registry

import (
	"testing"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

func TestDeregisterWorksWhileEtcdTakesDeletionsOnly(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	client := m.Client(t)
	s := opened(t, client)
	r := registered(t, s, "web", Instance{Addr: "10.0.0.1:80"})
	m.NoSpace(t)
	if err := r.Deregister(t.Context()); err != nil {
		t.Error(err)
	}
	eventually(t, "nothing left", func() bool { return len(etcdtest.Keys(t, client, "services/")) == 0 })
	m.Space(t)
	registered(t, s, "web", Instance{Addr: "10.0.0.1:80"})
}
