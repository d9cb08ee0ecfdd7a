package registry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

// guarded is an etcd with authentication, and a reader whose permission allow and deny give and take.
func guarded(t *testing.T) (root, reader *clientv3.Client, allow, deny func()) {
	t.Helper()
	m := etcdtest.Start(t)
	c, ctx := m.Client(t), t.Context()
	for _, f := range []func() error{
		func() error { _, err := c.UserAdd(ctx, "root", "root"); return err },
		func() error { _, err := c.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := c.UserAdd(ctx, "reader", "reader"); return err },
		func() error { _, err := c.RoleAdd(ctx, "reads"); return err },
		func() error { _, err := c.UserGrantRole(ctx, "reader", "reads"); return err },
		func() error { _, err := c.AuthEnable(ctx); return err },
	} {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
	as := func(name string) *clientv3.Client {
		return m.Client(t, func(cfg *clientv3.Config) { cfg.Username, cfg.Password = name, name })
	}
	root, reader = as("root"), as("reader")
	end := clientv3.GetPrefixRangeEnd("services/")
	allow = func() {
		t.Helper()
		if _, err := root.RoleGrantPermission(ctx, "reads", "services/", end, clientv3.PermissionType(clientv3.PermRead)); err != nil {
			t.Fatal(err)
		}
	}
	deny = func() {
		t.Helper()
		if _, err := root.RoleRevokePermission(ctx, "reads", "services/", end); err != nil {
			t.Fatal(err)
		}
	}
	return root, reader, allow, deny
}

func instance(t *testing.T, client *clientv3.Client, id string) {
	t.Helper()
	if _, err := client.Put(t.Context(), "services/web/"+id, `{"Addr":"10.0.0.1:80"}`); err != nil {
		t.Fatal(err)
	}
}

func TestRefusalDoesNotEndADirectory(t *testing.T) {
	t.Parallel()
	root, reader, allow, deny := guarded(t)
	allow()
	instance(t, root, "a")
	d, err := OpenDirectory(t.Context(), reader)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	deny()
	eventually(t, "trouble", func() bool { return errors.Is(d.Healthy(), rpctypes.ErrPermissionDenied) })
	allow()
	instance(t, root, "b")
	etcdtest.Eventually(t, 40*time.Second, "the directory going on", func() bool {
		in, _ := d.Instances(t.Context(), "web")
		return len(in) == 2 && d.Healthy() == nil
	})
}

func TestRefusalAtOpenIsAnErrorAlsoWithASnapshot(t *testing.T) {
	t.Parallel()
	_, reader, _, _ := guarded(t)
	file := t.TempDir() + "/snapshot"
	text := `{"schema":"fenceline.directory/v1","prefix":"services/","services":{"web":[{"ID":"a","Addr":"1.2.3.4:80","Status":"up","Weight":100}]}}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, opts := range [][]DirectoryOption{nil, {WithSnapshot(file)}} {
		d, err := OpenDirectory(t.Context(), reader, opts...)
		if !errors.Is(err, rpctypes.ErrPermissionDenied) {
			t.Errorf("%v", err)
		}
		if err == nil {
			d.Close()
		}
	}
}

func TestRefusalDoesNotEndAWatchWhoseConsumerGoesOn(t *testing.T) {
	t.Parallel()
	root, reader, allow, deny := guarded(t)
	allow()
	instance(t, root, "a")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	told := make(chan string, 100)
	go func() {
		defer close(told)
		for ins, err := range Watch(ctx, reader, "web") {
			if err != nil {
				told <- "refused"
				continue
			}
			told <- fmt.Sprint(len(ins))
		}
	}()
	want := func(text string) {
		t.Helper()
		select {
		case got := <-told:
			if got != text {
				t.Fatalf("told %q, want %q", got, text)
			}
		case <-time.After(40 * time.Second):
			t.Fatalf("not told %q", text)
		}
	}
	want("1")
	deny()
	want("refused")
	instance(t, root, "b")
	allow()
	want("2")
	cancel()
	if more, ok := <-told; ok {
		t.Errorf("then told %q", more)
	}
}

// A proxy that limits rates answers with the code by which etcd refuses.
func TestProxysLimitDoesNotEndADirectory(t *testing.T) {
	t.Parallel()
	m := etcdtest.Shared(t)
	at := etcdtest.Name(t)
	refuse := make(chan bool, 1)
	refuse <- true
	client := m.Client(t, func(cfg *clientv3.Config) {
		cfg.DialOptions = append(cfg.DialOptions, grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			select {
			case <-refuse:
				return status.Error(codes.ResourceExhausted, "rate limit exceeded")
			default:
			}
			return invoke(ctx, method, req, reply, cc, opts...)
		}))
	})
	d, err := OpenDirectory(t.Context(), client, WithPrefix(at))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := m.Client(t).Put(t.Context(), at+"/web/a", `{"Addr":"10.0.0.1:80"}`); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an instance", func() bool { in, _ := d.Instances(t.Context(), "web"); return len(in) == 1 })
}

func TestLargeAnswerOverASlowLinkIsWaitedFor(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	direct := m.Client(t)
	meta := strings.Repeat("x", 20<<10)
	for i := range 300 { // 6 MB, and no two alike: nothing compresses them
		if _, err := direct.Put(t.Context(), fmt.Sprintf("services/web/%03d", i), `{"Addr":"10.0.0.1:80","Metadata":{"m":"`+meta+`"}}`); err != nil {
			t.Fatal(err)
		}
	}
	p := etcdtest.NewProxy(t, m)
	slow := p.Client(t)
	p.Bandwidth(1 << 20)
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	ins, err := Lookup(ctx, slow, "web")
	if err != nil || len(ins) != 300 {
		t.Fatalf("Lookup: %d, %v", len(ins), err)
	}
	d, err := OpenDirectory(ctx, slow)
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
}

func TestOptionThatAVerbWouldIgnoreDoesNotCompile(t *testing.T) {
	type takenBy struct{ register, read, watch, directory bool }
	for name, c := range map[string]struct {
		option any
		want   takenBy
	}{
		"WithPrefix":       {WithPrefix("x"), takenBy{true, true, true, true}},
		"WithLogger":       {WithLogger(nil), takenBy{false, true, true, true}},
		"WithTroubleFunc":  {WithTroubleFunc(nil), takenBy{watch: true}},
		"WithPreservation": {WithPreservation(1, 1, 1), takenBy{directory: true}},
		"WithZone":         {WithZone("a"), takenBy{directory: true}},
		"WithService":      {WithService("x"), takenBy{directory: true}},
		"WithSnapshot":     {WithSnapshot("f"), takenBy{directory: true}},
	} {
		var got takenBy
		_, got.register = c.option.(Option)
		_, got.read = c.option.(ReadOption)
		_, got.watch = c.option.(WatchOption)
		_, got.directory = c.option.(DirectoryOption)
		if got != c.want {
			t.Errorf("%s: the verbs that take it are %+v, want %+v", name, got, c.want)
		}
	}
}
