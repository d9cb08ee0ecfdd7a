package registry

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/fenceline/fenceline/fencetest"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

// The answer to the first attempt is lost, and the second is refused for good.
func TestRegisterThatIsRefusedInTheEndLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		etcd := fencetest.Start(t)
		s := etcd.Session(t)
		etcd.Decide(func(q fencetest.Request) fencetest.Fate {
			return fencetest.Fate{AnswerLost: q.Method == "Txn"}
		})
		go func() {
			time.Sleep(time.Second)
			etcd.Decide(nil)
			etcd.SetNoSpace(true)
		}()
		if _, err := Register(ctx, s, "web", Instance{ID: "a", Addr: "10.0.0.1:80"}); !errors.Is(err, rpctypes.ErrNoSpace) {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		for _, kv := range etcd.Keys() {
			if strings.HasPrefix(string(kv.Key), "services/") {
				t.Errorf("%s = %s is left", kv.Key, kv.Value)
			}
		}
	})
}

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
