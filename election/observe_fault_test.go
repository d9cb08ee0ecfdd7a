package election_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

// pulling is next in a goroutine, for what happens while an observer waits.
func (o observed) pulling() <-chan election.Leader {
	got := make(chan election.Leader, 1)
	go func() {
		l, err, ok := o.pull()
		if err != nil || !ok {
			o.t.Errorf("the observer ended: %v", err)
		}
		got <- l
	}()
	return got
}

// write puts an entry, as often as it takes.
func write(t testing.TB, client *clientv3.Client, key, value string) {
	t.Helper()
	etcdtest.Eventually(t, 20*time.Second, "a write", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := client.Put(ctx, key, value)
		return err == nil
	})
}

// until waits for a value, over those before it.
func (o observed) until(value string) election.Leader {
	o.t.Helper()
	for {
		if l := o.next(); l.Value == value {
			return l
		}
	}
}

func TestObserverCatchesUpAfterACutAndACompaction(t *testing.T) {
	server, prefix := etcdtest.Shared(t), etcdtest.Name(t)
	client, p := server.Client(t), etcdtest.NewProxy(t, server)
	a := stand(t, client, prefix).lead("a")
	o := observe(t, p.Client(t), prefix)
	first := o.want("a")
	got := o.pulling()
	p.Cut()
	for i := range 20 {
		a.proclaim(fmt.Sprint(i))
	}
	a.resign()
	b := stand(t, client, prefix).lead("b")
	etcdtest.Compact(t, client)
	p.Heal()
	if l := <-got; l.Value != "b" || l.Token <= first.Token {
		t.Errorf("%+v after the cut", l)
	}
	etcdtest.Compact(t, client)
	b.resign()
	o.want("")
}

func TestObserverSurvivesARestartOfItsMember(t *testing.T) {
	t.Parallel()
	m, prefix := etcdtest.Start(t), etcdtest.Name(t)
	client := m.Client(t)
	write(t, client, prefix+"/a", "before")
	o := observe(t, client, prefix)
	first := o.want("before")
	got := o.pulling()
	m.Kill()
	m.Restart(t)
	write(t, client, prefix+"/a", "after")
	if l := <-got; l.Value != "after" || l.Token != first.Token {
		t.Errorf("%+v after the restart, %+v before", l, first)
	}
}

// Not one history: the revisions begin again.
func TestObserverBeginsAgainWithARestoredCluster(t *testing.T) {
	t.Parallel()
	data, prefix := t.TempDir(), etcdtest.Name(t)
	m := etcdtest.Start(t, etcdtest.WithArgs("--data-dir", data))
	client := m.Client(t)
	for range 50 {
		write(t, client, prefix+"/a", "before")
	}
	o := observe(t, client, prefix)
	o.want("before")
	m.Kill()
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	m.Restart(t)
	write(t, client, prefix+"/b", "after")
	o.until("after")
}

func TestObserversSurviveTheEndOfEtcdsLeader(t *testing.T) {
	t.Parallel()
	c, prefix := etcdtest.StartCluster(t, 3), etcdtest.Name(t)
	client := c.Client(t)
	write(t, client, prefix+"/a", "before")
	var observers []observed
	for _, m := range c.Members {
		observers = append(observers, beginAt(t, m, c, prefix, "before"))
	}
	c.Leader(t).Kill()
	write(t, client, prefix+"/a", "after")
	for _, o := range observers {
		o.want("after")
	}
}

// beginAt is an observer with its watch at m, who then hears of the other members.
func beginAt(t *testing.T, m *etcdtest.Member, c *etcdtest.Cluster, prefix, value string) observed {
	t.Helper()
	client := m.Client(t)
	o := observe(t, client, prefix)
	o.want(value)
	client.SetEndpoints(c.Endpoints()...)
	return o
}

// A member that hangs keeps its connections, and says nothing on them.
func TestObserverOfAMemberThatHangsHearsFromAnother(t *testing.T) {
	t.Parallel()
	c, prefix := etcdtest.StartCluster(t, 3), etcdtest.Name(t)
	hung, other := c.Members[0], c.Members[1]
	client := other.Client(t)
	write(t, client, prefix+"/a", "before")
	o := beginAt(t, hung, c, prefix, "before")
	hung.Stop(t)
	write(t, client, prefix+"/a", "after")
	o.want("after")
	hung.Continue(t)
}

func TestObserverOfACutOffMemberDoesNotGoBack(t *testing.T) {
	t.Parallel()
	c, prefix := etcdtest.StartCluster(t, 3), etcdtest.Name(t)
	leader := c.Leader(t)
	var others []*etcdtest.Member
	for _, m := range c.Members {
		if m != leader {
			others = append(others, m)
		}
	}
	client := leader.Client(t)
	write(t, client, prefix+"/a", "before")
	// One member hangs while the others go on, and is behind when it wakes up, alone.
	o := observe(t, c.Client(t, func(cfg *clientv3.Config) { cfg.Endpoints = []string{leader.Endpoint(), others[0].Endpoint()} }), prefix)
	o.want("before")
	others[0].Stop(t)
	write(t, client, prefix+"/a", "after")
	o.want("after")
	got := o.pulling()
	leader.Kill()
	others[1].Kill()
	others[0].Continue(t)
	// It would answer, if it were not asked for what a quorum knows.
	stale := others[0].Client(t)
	etcdtest.Eventually(t, 10*time.Second, "an answer of the one left", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := stale.Get(ctx, prefix+"/a", clientv3.WithSerializable())
		return err == nil
	})
	select {
	case l := <-got:
		t.Errorf("%+v from a member without a quorum", l)
		return
	case <-time.After(3 * time.Second): // as long as it takes to list and watch again several times
	}
	others[1].Restart(t)
	client = others[1].Client(t)
	write(t, client, prefix+"/a", "at last")
	if l := <-got; l.Value != "at last" {
		t.Errorf("%+v", l)
	}
}
