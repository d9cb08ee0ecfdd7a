package session_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

// history is what the hook was told.
type history struct {
	mu     sync.Mutex
	text   string
	causes []error
}

func (h *history) option() session.Option {
	return session.WithTrace(&session.Trace{StateChanged: func(from, to session.State, cause error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.text += fmt.Sprintf("%v>%v ", from, to)
		h.causes = append(h.causes, cause)
	}})
}

func (h *history) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text
}

// cause is that of the i-th change.
func (h *history) cause(i int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.causes[i]
}

func TestRevokedLeaseIsReplacedAndTheSessionGoesOn(t *testing.T) {
	t.Parallel()
	client, ns := etcdtest.Shared(t).Client(t), etcdtest.Name(t)+"/"
	var h history
	s := open(t, client, session.WithTTL(4*time.Second), session.WithNamespace(ns), h.option())
	first := s.Lease()
	if _, err := client.Revoke(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another lease", func() bool { l := s.Lease(); return l != first && l != clientv3.NoLease })
	eventually(t, "the news", func() bool { return h.String() == "down>live live>down down>live " })
	if err := h.cause(1); !errors.Is(err, session.ErrRevoked) || !errors.Is(err, session.ErrLost) {
		t.Errorf("cause %v", err)
	}
	if s.Context().Err() != nil || s.State() != session.Live {
		t.Errorf("%v, %v", s.Context().Err(), s.State())
	}
	if keys, want := etcdtest.Keys(t, client, ns), fmt.Sprintf("%ssession/%x", ns, int64(s.Lease())); len(keys) != 1 || keys[0] != want {
		t.Errorf("records %q, want %q", keys, want)
	}
}

func TestSessionSurvivesARestartOfEtcdWithinItsTTL(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	s := open(t, m.Client(t), session.WithTTL(5*time.Second))
	lease := s.Lease()
	m.Kill()
	m.Restart(t)
	before := s.Deadline()
	eventually(t, "a renewal", func() bool { return s.Deadline().After(before.Add(time.Second)) })
	if s.Lease() != lease || s.State() != session.Live {
		t.Errorf("%v with lease %x after %x", s.State(), s.Lease(), lease)
	}
}

// By itself gRPC would wait for seconds between attempts to connect, and longer after each.
func TestRenewalsDoNotWaitForTheConnectionsBackOff(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	s := open(t, connect(t, m.Endpoint()), session.WithTTL(10*time.Second))
	lease := s.Lease()
	m.Kill()
	eventually(t, "suspicion", func() bool { return s.State() == session.Suspect })
	m.Restart(t)
	eventually(t, "trust", func() bool { return s.State() == session.Live })
	if s.Lease() != lease {
		t.Errorf("lease %x after %x", s.Lease(), lease)
	}
}

func TestSessionComesBackAfterEtcdWasAwayForLongerThanItsTTL(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	var h history
	var log lockedBuffer
	s := open(t, connect(t, m.Endpoint()), session.WithTTL(2*time.Second), h.option(),
		session.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	first := s.Lease()
	m.Kill()
	eventually(t, "suspicion", func() bool { return s.State() == session.Suspect })
	mustSay(t, s.Healthy(), "overdue", m.Endpoint(), "connection refused")
	eventually(t, "loss", func() bool { return s.State() == session.Down })
	mustSay(t, s.Healthy(), "no lease")
	if s.Lease() != clientv3.NoLease || !s.Deadline().IsZero() || s.Context().Err() != nil {
		t.Errorf("%x, %v, %v", s.Lease(), s.Deadline(), s.Context().Err())
	}
	eventually(t, "a reason", func() bool { return strings.Contains(s.Healthy().Error(), "connection refused") })
	mustSay(t, s.Healthy(), "no lease", m.Endpoint())
	m.Restart(t)
	eventually(t, "another lease", func() bool { return s.State() == session.Live })
	if s.Lease() == first || s.Healthy() != nil {
		t.Errorf("%x after %x, %v", s.Lease(), first, s.Healthy())
	}
	eventually(t, "the news", func() bool { return h.String() == "down>live live>suspect suspect>down down>live " })
	if err := h.cause(2); !errors.Is(err, session.ErrExpired) {
		t.Errorf("cause %v", err)
	}
	for _, line := range []string{"renewal failed", "lease lost", "cannot take a lease"} {
		if !strings.Contains(log.String(), line) {
			t.Errorf("not logged: %s", line)
		}
	}
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestStoppedEtcdMeansDownBeforeTheLeaseCanEnd(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	s := open(t, m.Client(t), session.WithTTL(2*time.Second))
	m.Stop(t)
	stopped := time.Now()
	deadline := s.Deadline()
	eventually(t, "loss", func() bool { return s.State() == session.Down })
	if late := time.Since(deadline); late > 250*time.Millisecond {
		t.Errorf("%v after the deadline", late)
	}
	if took := time.Since(stopped); took > 2*time.Second {
		t.Errorf("%v after the last possible renewal", took)
	}
	m.Continue(t)
	eventually(t, "another lease", func() bool { return s.State() == session.Live })
}

// Its connection stays open and swallows every third request: each has a timeout short enough for the next.
func TestStoppedMemberOfThreeDoesNotCostTheLease(t *testing.T) {
	t.Parallel()
	c := etcdtest.StartCluster(t, 3)
	leader := c.Leader(t)
	var h history
	s := open(t, c.Client(t), session.WithTTL(5*time.Second), h.option())
	lease := s.Lease()
	for _, m := range c.Members {
		if m != leader {
			m.Stop(t)
			break
		}
	}
	began := s.Deadline()
	eventually(t, "three renewals", func() bool { return s.Deadline().After(began.Add(4 * time.Second)) })
	if s.Lease() != lease {
		t.Errorf("lease %x after %x: %v", s.Lease(), lease, &h)
	}
}

func TestOpenWhoseAnswersAreLostLeavesNoLease(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	p := etcdtest.NewProxy(t, m)
	client := p.Client(t)
	if _, err := client.Get(t.Context(), "connect"); err != nil {
		t.Fatal(err)
	}
	p.DropAnswers()
	_, err := session.Open(within(t, 500*time.Millisecond), client)
	mustSay(t, err, "no answer", p.Endpoint())
	eventually(t, "no lease, long before its TTL", func() bool { return len(etcdtest.Leases(t, m.Client(t))) == 0 })
}
