package etcdtest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// Ticks of members of a cluster. A follower misses its leader after 0.5 to 1 s, and a lease lasts at least 1 s.
	// Faster ones depose leaders that only had no processor for a moment.
	heartbeat = 50 * time.Millisecond
	election  = 500 * time.Millisecond
)

// Cluster is several members that elect a leader.
type Cluster struct {
	Members []*Member
}

// StartCluster starts n members, all of them ready, that end with the test. They grant leases of 1 s and
// longer, and have a new leader about a second after the old one died.
func StartCluster(t testing.TB, n int, opts ...Option) *Cluster {
	t.Helper()
	peers, all := make([]string, n), make([]string, n)
	for i := range n {
		peers[i] = newPort(t).String()
		all[i] = fmt.Sprintf("m%d=http://%s", i, peers[i])
	}
	c := &Cluster{}
	for i := range n {
		member := WithArgs("--name", fmt.Sprintf("m%d", i), "--peer-listen", peers[i], "--initial-cluster", strings.Join(all, ","),
			"--heartbeat", heartbeat.String(), "--election", election.String())
		c.Members = append(c.Members, newMember(t, append([]Option{member}, opts...)...))
	}
	for _, m := range c.Members {
		m.spawn(t)
	}
	for _, m := range c.Members { // they wait for each other, so all run before any is ready
		m.ready(t)
	}
	return c
}

// Endpoints are the URLs of all members.
func (c *Cluster) Endpoints() []string {
	var endpoints []string
	for _, m := range c.Members {
		endpoints = append(endpoints, m.endpoint)
	}
	return endpoints
}

// Client connects to the cluster, through whichever members live; otherwise as Member.Client.
func (c *Cluster) Client(t testing.TB, configure ...func(*clientv3.Config)) *clientv3.Client {
	t.Helper()
	return newClient(t, c.Endpoints(), append([]func(*clientv3.Config){c.Members[0].secure}, configure...)...)
}

// Leader waits until there is a leader, and returns it.
func (c *Cluster) Leader(t testing.TB) *Member {
	t.Helper()
	var leader *Member
	Eventually(t, 30*time.Second, "a leader", func() bool {
		leader = c.leader(t)
		return leader != nil
	})
	return leader
}

// leader is the member that says so itself, at the highest term: one that slept through an election may still
// believe in itself.
func (c *Cluster) leader(t testing.TB) *Member {
	var leader *Member
	var term uint64
	for _, m := range c.Members {
		if m.process == nil {
			continue
		}
		status, err := m.status(t)
		if err == nil && status.Leader == status.Header.MemberId && status.RaftTerm > term {
			leader, term = m, status.RaftTerm
		}
	}
	return leader
}

func (m *Member) status(t testing.TB) (*clientv3.StatusResponse, error) {
	client, err := clientv3.New(clientConfig([]string{m.endpoint}, m.secure))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond) // it may be stopped
	defer cancel()
	return client.Status(ctx, m.endpoint)
}
