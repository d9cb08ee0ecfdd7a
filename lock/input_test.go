package lock_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

func TestNamesThatContainEachOtherDoNotMeet(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client)
	var held []*lock.Lock
	for _, name := range []string{name, name + "/b", name + "/b/c", name + "%2Fb", name + "/"} {
		held = append(held, acquire(t, lock.New(s, name)))
	}
	for _, l := range held {
		release(t, l)
	}
}

func TestInvalidNamesAndOptionsCostNoRequest(t *testing.T) {
	p := etcdtest.NewProxy(t, etcdtest.Shared(t))
	s := open(t, p.Client(t))
	p.Blackhole() // a request would wait
	defer p.Heal()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for what, c := range map[string]struct {
		m    *lock.Mutex
		rule string
		is   error
	}{
		"empty":           {lock.New(s, ""), "empty", session.ErrInvalidName},
		"too long":        {lock.New(s, strings.Repeat("x", 600)), "600 bytes", session.ErrInvalidName},
		"control":         {lock.New(s, "a\x00b"), "control", session.ErrInvalidName},
		"bad UTF-8":       {lock.New(s, "\xff"), "UTF-8", session.ErrInvalidName},
		"empty prefix":    {lock.New(s, "a", lock.WithPrefix("")), "empty", session.ErrInvalidName},
		"own records":     {lock.New(s, "a", lock.WithPrefix("fenceline")), "own records", session.ErrInvalidName},
		"negative number": {lock.New(s, "a", lock.WithHandoffs(-1)), "WithHandoffs(-1)", nil},
		"negative time":   {lock.New(s, "a", lock.WithLinger(-time.Second)), "WithLinger(-1s)", nil},
		"nobody may wait": {lock.New(s, "a", lock.WithMaxWaiters(0)), "WithMaxWaiters(0)", nil},
	} {
		do := func(ctx context.Context) (*lock.Lock, error) {
			return nil, c.m.Do(ctx, func(context.Context, *lock.Lock) error { t.Error("fn ran"); return nil })
		}
		for _, verb := range []func(context.Context) (*lock.Lock, error){c.m.Acquire, c.m.TryAcquire, do} {
			_, err := verb(ctx)
			if err == nil || !strings.Contains(err.Error(), c.rule) || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%s: %v, want an error that says %q", what, err, c.rule)
			}
		}
	}
}

func TestMissingPermissionIsAnErrorAtOnceThatNamesTheKeys(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	root := m.Client(t)
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	must(root.UserAdd(ctx, "root", "r"))
	must(root.UserGrantRole(ctx, "root", "root"))
	must(root.RoleAdd(ctx, "app"))
	must(root.RoleGrantPermission(ctx, "app", "fenceline/", clientv3.GetPrefixRangeEnd("fenceline/"), clientv3.PermissionType(clientv3.PermReadWrite)))
	must(root.UserAdd(ctx, "app", "a"))
	must(root.UserGrantRole(ctx, "app", "app"))
	must(root.AuthEnable(ctx))

	s := open(t, m.Client(t, func(c *clientv3.Config) { c.Username, c.Password = "app", "a" }))
	release(t, acquire(t, lock.New(s, "allowed")))
	bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	denied := lock.New(s, "denied", lock.WithPrefix("elsewhere/x"))
	for _, verb := range []func(context.Context) (*lock.Lock, error){denied.Acquire, denied.TryAcquire} {
		began := time.Now()
		_, err := verb(bounded)
		if err == nil || !strings.Contains(err.Error(), `"elsewhere/x/"`) || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("missing permission: %v", err)
		}
		if bounded.Err() != nil {
			t.Errorf("told after %v", time.Since(began))
		}
	}
	release(t, acquire(t, lock.New(s, "allowed")))
}

func TestUnreachableEtcdIsAnErrorWithinTheContextThatNamesTheEndpoint(t *testing.T) {
	t.Parallel()
	for fault, do := range map[string]func(*etcdtest.Proxy){
		"refused":   (*etcdtest.Proxy).Cut,
		"swallowed": (*etcdtest.Proxy).Blackhole,
	} {
		p := etcdtest.NewProxy(t, etcdtest.Shared(t))
		s := open(t, p.Client(t), session.WithTTL(5*time.Second))
		do(p)
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		began := time.Now()
		_, err := lock.New(s, etcdtest.Name(t)).Acquire(ctx)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(fmt.Sprint(err), p.Endpoint()) {
			t.Errorf("%s: %v, want DeadlineExceeded and %s", fault, err, p.Endpoint())
		}
		if took := time.Since(began); took > 3500*time.Millisecond {
			t.Errorf("%s: after %v", fault, took)
		}
		p.Heal()
	}
}

func TestClosedSessionLeavesNothingAndEndsEverything(t *testing.T) {
	m := etcdtest.Start(t)
	client, name := m.Client(t), etcdtest.Name(t)
	s, err := session.Open(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	l := acquire(t, lock.New(s, name))
	held := l.Context()
	waiting := make(chan error, 1)
	go func() { _, err := lock.New(s, name).Acquire(t.Context()); waiting <- err }()
	other := acquire(t, lock.New(open(t, client), name+"/other"))
	behind := make(chan error, 1)
	go func() { _, err := lock.New(s, name+"/other").Acquire(t.Context()); behind <- err }()
	etcdtest.Eventually(t, 5*time.Second, "the second line", func() bool {
		return len(etcdtest.Keys(t, client, "fenceline/lock/")) == 3
	})

	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := context.Cause(held); !errors.Is(err, session.ErrClosed) {
		t.Errorf("the hold's cause: %v", err)
	}
	if err := l.Release(t.Context()); !errors.Is(err, session.ErrClosed) {
		t.Errorf("Release: %v", err)
	}
	for _, c := range []chan error{waiting, behind} {
		if err := <-c; !errors.Is(err, session.ErrClosed) {
			t.Errorf("Acquire that was waiting: %v", err)
		}
	}
	if _, err := lock.New(s, name).Acquire(t.Context()); !errors.Is(err, session.ErrClosed) {
		t.Errorf("Acquire: %v", err)
	}
	if leases := etcdtest.Leases(t, client); len(leases) != 1 { // the other session's
		t.Errorf("leases left: %x", leases)
	}
	release(t, other)
	if keys := etcdtest.Keys(t, client, "fenceline/lock/"); len(keys) != 0 {
		t.Errorf("keys left: %q", keys)
	}
}

func TestDoReleasesAfterFnAndJoinsTheLoss(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client)
	m := lock.New(s, name)
	mine := errors.New("fn's own")

	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "value")
	err := m.Do(ctx, func(ctx context.Context, l *lock.Lock) error {
		if len(lineOf(t, client, name)) != 1 || ctx.Value(key{}) != "value" || l.Context().Value(key{}) != "value" {
			t.Error("not held inside fn, or values lost")
		}
		return mine
	})
	if err != mine || len(lineOf(t, client, name)) != 0 {
		t.Errorf("Do: %v", err)
	}

	err = m.Do(ctx, func(ctx context.Context, l *lock.Lock) error {
		revoke(t, client, s)
		<-ctx.Done()
		if !errors.Is(context.Cause(ctx), session.ErrLost) {
			t.Errorf("fn's cause: %v", context.Cause(ctx))
		}
		return mine
	})
	if !errors.Is(err, mine) || !errors.Is(err, session.ErrRevoked) {
		t.Errorf("Do that lost its hold: %v", err)
	}

	cancelled, cancel := context.WithCancel(ctx)
	if err := m.Do(cancelled, func(ctx context.Context, l *lock.Lock) error {
		cancel()
		<-ctx.Done()
		return context.Cause(l.Context()) // the hold does not end with the caller
	}); err != nil {
		t.Errorf("Do whose caller went away: %v", err)
	}
	queued(t, client, name, 0)

	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = m.Do(ctx, func(context.Context, *lock.Lock) error { panic("in fn") })
	}()
	queued(t, client, name, 0)
}
