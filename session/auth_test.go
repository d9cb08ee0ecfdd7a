package session_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

// secured is an etcd with authentication on. The user "user" may use keys under allowed/.
func secured(t testing.TB) (m *etcdtest.Member, root *clientv3.Client) {
	t.Helper()
	m = etcdtest.Start(t)
	c, ctx := m.Client(t), t.Context()
	allowed := "allowed/"
	for _, f := range []func() error{
		func() error { _, err := c.UserAdd(ctx, "root", "root"); return err },
		func() error { _, err := c.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := c.UserAdd(ctx, "user", "user"); return err },
		func() error { _, err := c.RoleAdd(ctx, "role"); return err },
		func() error {
			_, err := c.RoleGrantPermission(ctx, "role", allowed, clientv3.GetPrefixRangeEnd(allowed), clientv3.PermissionType(clientv3.PermReadWrite))
			return err
		},
		func() error { _, err := c.UserGrantRole(ctx, "user", "role"); return err },
		func() error { _, err := c.AuthEnable(ctx); return err },
	} {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
	return m, as(t, m, "root")
}

func as(t testing.TB, m *etcdtest.Member, name string) *clientv3.Client {
	t.Helper()
	return m.Client(t, func(cfg *clientv3.Config) { cfg.Username, cfg.Password = name, name })
}

func TestMissingPermissionNamesTheKeysAndLeavesNoLease(t *testing.T) {
	m, root := secured(t)
	start := time.Now()
	_, err := session.Open(t.Context(), as(t, m, "user"))
	mustSay(t, err, `"fenceline/"`, "readwrite")
	if !errors.Is(err, rpctypes.ErrPermissionDenied) {
		t.Errorf("%v", err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
	if leases := etcdtest.Leases(t, root); len(leases) != 0 {
		t.Errorf("%d leases", len(leases))
	}
	open(t, as(t, m, "user"), session.WithNamespace("allowed/"))
}

func TestClientWithoutAUserIsToldSoAtOnce(t *testing.T) {
	m, _ := secured(t)
	start := time.Now()
	_, err := session.Open(t.Context(), m.Client(t))
	mustSay(t, err, m.Endpoint(), "user name is empty")
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v", took)
	}
}

func TestWrongPasswordIsTold(t *testing.T) {
	m, root := secured(t)
	client := as(t, m, "user") // the right one; etcd's client itself refuses a wrong one
	if _, err := root.UserChangePassword(t.Context(), "user", "other"); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, err := session.Open(t.Context(), client, session.WithNamespace("allowed/"))
	mustSay(t, err, m.Endpoint(), "invalid user ID or password")
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
}

// etcd forgets tokens: after five minutes without use, at its restart, when the user's password changes.
func TestSessionSurvivesTheEndOfItsToken(t *testing.T) {
	t.Parallel()
	m, root := secured(t)
	client := as(t, m, "user")
	s := open(t, client, session.WithNamespace("allowed/"), session.WithTTL(5*time.Second))
	forget := func() {
		t.Helper()
		if _, err := root.UserChangePassword(t.Context(), "user", "user"); err != nil {
			t.Fatal(err)
		}
	}
	lease, before := s.Lease(), s.Deadline()
	forget()
	eventually(t, "a renewal", func() bool { return s.Deadline().After(before.Add(time.Second)) })
	if s.Lease() != lease {
		t.Fatal("another lease")
	}
	if _, err := root.Revoke(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	forget()
	eventually(t, "another lease", func() bool { return s.State() == session.Live && s.Lease() != lease })
	forget()
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSessionAtRestDoesNotLogInForEachRenewal(t *testing.T) {
	t.Parallel()
	m, _ := secured(t)
	var logins atomic.Int64
	client := m.Client(t, func(cfg *clientv3.Config) {
		cfg.Username, cfg.Password = "user", "user"
		cfg.DialOptions = append(cfg.DialOptions, grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			if strings.HasSuffix(method, "/Authenticate") {
				logins.Add(1)
			}
			return invoke(ctx, method, req, reply, cc, opts...)
		}))
	})
	s := open(t, client, session.WithNamespace("allowed/"), session.WithTTL(2*time.Second))
	before := logins.Load()
	for range 5 {
		deadline := s.Deadline()
		eventually(t, "a renewal", func() bool { return s.Deadline().After(deadline.Add(200 * time.Millisecond)) })
	}
	if n := logins.Load() - before; n > 0 {
		t.Errorf("%d logins in five renewals", n)
	}
}
