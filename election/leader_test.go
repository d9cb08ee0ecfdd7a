package election_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"

	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

func says(t testing.TB, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %q", err, part)
		}
	}
}

func TestCurrentIsWhoLeads(t *testing.T) {
	client, prefix := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	at := election.WithPrefix(prefix)
	if l, err := election.Current(t.Context(), client, "shown", at); !errors.Is(err, election.ErrNoLeader) || l != (election.Leader{}) {
		t.Fatalf("%+v, %v with nobody there", l, err)
	}
	a := stand(t, client, prefix).lead("a")
	stand(t, client, prefix).wait(prefix, "b", 2)
	if l, err := election.Current(t.Context(), client, "shown", at); err != nil || l.Key != a.Key() || l.Value != "a" || l.Token.Revision() != a.Rev() {
		t.Fatalf("%+v, %v", l, err)
	}
	a.resign()
	if l, err := election.Current(t.Context(), client, "shown", at); err != nil || l.Value != "b" {
		t.Fatalf("%+v, %v after a left", l, err)
	}
}

func TestCandidatesAreInOrderOfArrival(t *testing.T) {
	client, prefix := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	at := election.WithPrefix(prefix)
	if all, err := election.Candidates(t.Context(), client, "shown", at); err != nil || len(all) != 0 {
		t.Fatalf("%v, %v with nobody there", all, err)
	}
	for i, key := range []string{"c", "a", "d", "b"} {
		if _, err := client.Put(t.Context(), prefix+"/"+key, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.Put(t.Context(), prefix+"/c", "0"); err != nil { // keeps its place
		t.Fatal(err)
	}
	all, err := election.Candidates(t.Context(), client, "shown", at)
	if err != nil || len(all) != 4 {
		t.Fatalf("%v, %v", all, err)
	}
	for i, c := range all {
		if c.Value != fmt.Sprint(i) {
			t.Errorf("%d: %+v", i, c)
		}
	}
	if l, err := election.Current(t.Context(), client, "shown", at); err != nil || l != all[0] {
		t.Errorf("%+v, %v leads, and not the first candidate", l, err)
	}
}

func TestLargeValuesAreRead(t *testing.T) {
	client, prefix := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	for i := range 6 {
		if _, err := client.Put(t.Context(), fmt.Sprintf("%s/%d", prefix, i), strings.Repeat("x", 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := election.Candidates(t.Context(), client, "shown", election.WithPrefix(prefix)); err != nil || len(all) != 6 {
		t.Errorf("%d candidates, %v", len(all), err)
	}
	if l := observe(t, client, prefix).next(); len(l.Value) != 1<<20 {
		t.Errorf("a value of %d bytes", len(l.Value))
	}
}

func TestNamesAndNamespacesDoNotMeet(t *testing.T) {
	client, ns := etcdtest.Shared(t).Client(t), etcdtest.Name(t)+"/"
	for key, value := range map[string]string{"election/a/1": "a", "election/a%2Fb/1": "a/b", "election/ab/1": "ab"} {
		if _, err := client.Put(t.Context(), ns+key, value); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a", "a/b", "ab"} {
		all, err := election.Candidates(t.Context(), client, name, election.WithNamespace(ns))
		if err != nil || len(all) != 1 || all[0].Value != name {
			t.Errorf("%s: %v, %v", name, all, err)
		}
	}
	name := etcdtest.Name(t)
	if _, err := client.Put(t.Context(), "fenceline/election/"+name+"/1", "by default"); err != nil {
		t.Fatal(err)
	}
	if l, err := election.Current(t.Context(), client, name); err != nil || l.Value != "by default" {
		t.Errorf("%+v, %v", l, err)
	}
}

// reading calls each of the three, and answers their errors.
func reading(ctx context.Context, client *clientv3.Client, name string, opts ...election.WatchOption) map[string]error {
	_, current := election.Current(ctx, client, name, opts...)
	_, candidates := election.Candidates(ctx, client, name, opts...)
	var observed error
	for _, observed = range election.Observe(ctx, client, name, opts...) {
		break
	}
	return map[string]error{"Current": current, "Candidates": candidates, "Observe": observed}
}

func TestWhatCannotBeReadCostsNoRequest(t *testing.T) {
	p := etcdtest.NewProxy(t, etcdtest.Shared(t))
	client := p.Client(t)
	p.Blackhole() // a request would wait
	defer p.Heal()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	wrapped := p.Client(t)
	wrapped.KV = namespace.NewKV(client.KV, "ns/")
	for what, c := range map[string]struct {
		client *clientv3.Client
		name   string
		opt    election.WatchOption
		says   string
		is     error
	}{
		"empty name":        {client, "", election.WithPrefix("p"), "empty", session.ErrInvalidName},
		"long name":         {client, strings.Repeat("x", 600), election.WithPrefix("p"), "600 bytes", session.ErrInvalidName},
		"control character": {client, "a\x00b", election.WithNamespace("ns/"), "control", session.ErrInvalidName},
		"not UTF-8":         {client, "\xff", election.WithNamespace("ns/"), "UTF-8", session.ErrInvalidName},
		"empty prefix":      {client, "a", election.WithPrefix(""), "empty", session.ErrInvalidName},
		"empty namespace":   {client, "a", election.WithNamespace(""), `namespace ""`, nil},
		"no client":         {nil, "a", election.WithPrefix("p"), "nil", nil},
		"zero client":       {&clientv3.Client{}, "a", election.WithPrefix("p"), "clientv3.New", nil},
		"wrapped client":    {wrapped, "a", election.WithPrefix("p"), "WithNamespace", nil},
	} {
		for verb, err := range reading(ctx, c.client, c.name, c.opt) {
			says(t, err, "election: ", c.says)
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%s, %s: %v", what, verb, err)
			}
		}
	}
	if ctx.Err() != nil {
		t.Error("something waited for etcd")
	}
}

func TestUnreachableEtcdIsExplainedInTime(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	dead := "http://" + l.Addr().String()
	client := etcdtest.Shared(t).Client(t, func(cfg *clientv3.Config) { cfg.Endpoints = []string{dead} })
	for _, bound := range []time.Duration{500 * time.Millisecond, 0} {
		ctx, want := context.Background(), 5*time.Second
		if bound > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, bound)
			defer cancel()
			want = bound
		}
		start := time.Now()
		_, err := election.Current(ctx, client, "shown")
		if took := time.Since(start); took < want*9/10 || took > want+time.Second {
			t.Errorf("after %v, want %v", took, want)
		}
		says(t, err, dead, "connection refused", "shown")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v does not tell that the time is over", err)
		}
	}
	cause := errors.New("not today")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := election.Candidates(ctx, client, "shown"); !errors.Is(err, cause) {
		t.Errorf("%v, want the cause of ctx", err)
	}
}

func TestMissingPermissionIsAnErrorAtOnce(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	c, ctx := m.Client(t), t.Context()
	for _, f := range []func() error{
		func() error { _, err := c.UserAdd(ctx, "root", "root"); return err },
		func() error { _, err := c.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := c.UserAdd(ctx, "user", "user"); return err },
		func() error { _, err := c.RoleAdd(ctx, "role"); return err },
		func() error {
			_, err := c.RoleGrantPermission(ctx, "role", "allowed/", "allowed0", clientv3.PermissionType(clientv3.PermRead))
			return err
		},
		func() error { _, err := c.UserGrantRole(ctx, "user", "role"); return err },
		func() error { _, err := c.AuthEnable(ctx); return err },
	} {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
	as := func(name string) *clientv3.Client {
		return m.Client(t, func(cfg *clientv3.Config) { cfg.Username, cfg.Password = name, name })
	}
	user, root := as("user"), as("root")
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for verb, err := range reading(ctx, user, "name") {
		says(t, err, `"fenceline/election/name/"`, "needs read ")
		if !errors.Is(err, rpctypes.ErrPermissionDenied) {
			t.Errorf("%s: %v", verb, err)
		}
	}
	if _, err := election.Current(ctx, user, "name", election.WithNamespace("allowed/")); !errors.Is(err, election.ErrNoLeader) {
		t.Error(err)
	}

	// A permission that is taken away while an observer watches is noticed, too; a token that etcd forgets is not news.
	o := observe(t, user, "allowed/x")
	o.want("")
	if _, err := root.UserChangePassword(ctx, "user", "user"); err != nil {
		t.Fatal(err)
	}
	stand(t, root, "allowed/x").lead("a")
	o.want("a")
	if _, err := root.RoleRevokePermission(ctx, "role", "allowed/", "allowed0"); err != nil {
		t.Fatal(err)
	}
	if l, err, _ := o.pull(); !errors.Is(err, rpctypes.ErrPermissionDenied) {
		t.Errorf("%+v, %v", l, err)
	}
}
