package grpcresolver_test

import (
	"context"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	etcdresolver "go.etcd.io/etcd/client/v3/naming/resolver"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/serviceconfig"
	"google.golang.org/grpc/status"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/registry"
	"github.com/fenceline/fenceline/registry/grpcresolver"
	"github.com/fenceline/fenceline/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func service(t *testing.T) string { return strings.ReplaceAll(etcdtest.Name(t), "/", "-") }

// server is a gRPC server that counts its calls.
type server struct {
	*grpc.Server
	addr  string
	calls atomic.Int64
}

func serve(t *testing.T, addr string) *server {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{addr: l.Addr().String()}
	s.Server = grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		s.calls.Add(1)
		return handle(ctx, req)
	}))
	healthpb.RegisterHealthServer(s.Server, health.NewServer())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Stop(); <-done })
	return s
}

func dial(t *testing.T, target string, b resolver.Builder) healthpb.HealthClient {
	t.Helper()
	conn, err := grpc.NewClient(target, grpc.WithResolvers(b), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return healthpb.NewHealthClient(conn)
}

func call(t *testing.T, client healthpb.HealthClient, opts ...grpc.CallOption) error {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := client.Check(ctx, &healthpb.HealthCheckRequest{}, opts...)
	return err
}

func opened(t *testing.T, client *clientv3.Client) *session.Session {
	t.Helper()
	s, err := session.Open(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func register(t *testing.T, s *session.Session, name, addr string) *registry.Registration {
	t.Helper()
	r, err := registry.Register(t.Context(), s, name, registry.Instance{Addr: addr})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Three servers are replaced, one after the other, while calls are made all the time.
func TestRollingRestartFailsNoCall(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), service(t)
	s := opened(t, client)
	var servers []*server
	var registrations []*registry.Registration
	for range 3 {
		servers = append(servers, serve(t, "127.0.0.1:0"))
		registrations = append(registrations, register(t, s, name, servers[len(servers)-1].addr))
	}
	conn := dial(t, "fenceline:///"+name, grpcresolver.New(client))
	ctx, cancel := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	var calls atomic.Int64
	for range 8 {
		callers.Go(func() {
			for ctx.Err() == nil {
				if err := call(t, conn); err != nil {
					t.Errorf("a call failed: %v", err)
					return
				}
				calls.Add(1)
			}
		})
	}
	busy := func(srv *server) {
		t.Helper()
		n := srv.calls.Load()
		etcdtest.Eventually(t, 10*time.Second, "calls to a server", func() bool { return srv.calls.Load() > n+10 })
	}
	quiet := func(srv *server) {
		t.Helper()
		etcdtest.Eventually(t, 10*time.Second, "an end of calls to a server", func() bool {
			n, all := srv.calls.Load(), calls.Load()
			for calls.Load() < all+100 && ctx.Err() == nil { // with so many to the others
				time.Sleep(time.Millisecond)
			}
			return srv.calls.Load() == n
		})
	}
	for i := range servers {
		for _, srv := range servers {
			busy(srv)
		}
		if err := registrations[i].Update(t.Context(), registry.Instance{Addr: servers[i].addr, Status: registry.Draining}); err != nil {
			t.Fatal(err)
		}
		quiet(servers[i])
		if err := registrations[i].Deregister(t.Context()); err != nil {
			t.Fatal(err)
		}
		servers[i].GracefulStop()
		servers[i] = serve(t, servers[i].addr)
		registrations[i] = register(t, s, name, servers[i].addr)
		busy(servers[i])
	}
	cancel()
	callers.Wait()
	t.Log(calls.Load(), "calls")
}

func TestCallsOfAServiceWithoutInstancesFailInsteadOfHanging(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), service(t)
	conn := dial(t, "fenceline:///"+name, grpcresolver.New(client))
	if err := call(t, conn); status.Code(err) != codes.Unavailable {
		t.Errorf("%v", err)
	}
	srv := serve(t, "127.0.0.1:0")
	r := register(t, opened(t, client), name, srv.addr)
	if err := call(t, conn, grpc.WaitForReady(true)); err != nil {
		t.Error(err)
	}
	if err := r.Deregister(t.Context()); err != nil {
		t.Fatal(err)
	}
	etcdtest.Eventually(t, 10*time.Second, "calls to fail", func() bool { return status.Code(call(t, conn)) == codes.Unavailable })
}

func TestCallsSayWhyWhenEtcdCannotBeReachedAtFirst(t *testing.T) {
	m := etcdtest.Start(t)
	m.Kill()
	client, name := m.Client(t), service(t)
	conn := dial(t, "fenceline:///"+name, grpcresolver.New(client))
	if err := call(t, conn); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "cannot reach etcd") {
		t.Errorf("%v", err)
	}
	m.Restart(t)
	srv := serve(t, "127.0.0.1:0")
	s, err := session.Open(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	register(t, s, name, srv.addr)
	if err := call(t, conn, grpc.WaitForReady(true)); err != nil {
		t.Error(err)
	}
	defer func() { m.Restart(t); _ = s.Close(context.Background()) }()
	m.Kill() // with a good set at hand, it does not matter
	for range 20 {
		if err := call(t, conn); err != nil {
			t.Error(err)
		}
	}
}

func TestEtcdsOwnEntriesAreResolvedAndEtcdsResolverReadsOurs(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), service(t)
	theirs, ours := serve(t, "127.0.0.1:0"), serve(t, "127.0.0.1:0")
	manager, err := endpoints.NewManager(client, "services/"+name)
	if err != nil {
		t.Fatal(err)
	}
	if err := manager.AddEndpoint(t.Context(), "services/"+name+"/theirs", endpoints.Endpoint{Addr: theirs.addr, Metadata: "v1"}); err != nil {
		t.Fatal(err)
	}
	register(t, opened(t, client), name, ours.addr)
	builder, err := etcdresolver.NewBuilder(client)
	if err != nil {
		t.Fatal(err)
	}
	for target, b := range map[string]resolver.Builder{"fenceline:///" + name: grpcresolver.New(client), "etcd:///services/" + name: builder} {
		conn := dial(t, target, b)
		n, o := theirs.calls.Load(), ours.calls.Load()
		etcdtest.Eventually(t, 10*time.Second, "calls to both by "+target, func() bool {
			return call(t, conn, grpc.WaitForReady(true)) == nil && theirs.calls.Load() > n && ours.calls.Load() > o
		})
	}
}

// recorder is a ClientConn that keeps what a resolver says.
type recorder struct{ states chan resolver.State }

func (r recorder) UpdateState(s resolver.State) error { r.states <- s; return nil }
func (recorder) ReportError(error)                    {}
func (recorder) NewAddress([]resolver.Address)        {}
func (recorder) ParseServiceConfig(string) *serviceconfig.ParseResult {
	return nil
}

func TestEndpointsCarryTheInstanceInAStableOrder(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), service(t)
	s := opened(t, client)
	in := registry.Instance{ID: "b", Addr: "10.0.0.1:80", Weight: 3, Zone: "z", Version: "1", Meta: map[string]string{"k": "v"}}
	for _, in := range []registry.Instance{in, {ID: "a", Addr: "10.0.0.2:80"}, {ID: "c", Addr: "10.0.0.3:80", Status: registry.Starting}} {
		if _, err := registry.Register(t.Context(), s, name, in); err != nil {
			t.Fatal(err)
		}
	}
	cc := recorder{make(chan resolver.State, 10)}
	r := build(t, client, "fenceline:///"+name, cc)
	defer r.Close()
	state := <-cc.states
	if len(state.Endpoints) != 2 || state.Endpoints[0].Addresses[0].Addr != "10.0.0.2:80" {
		t.Fatalf("%+v", state.Endpoints)
	}
	got, ok := grpcresolver.Instance(state.Endpoints[1])
	in.Status = registry.Up
	if !ok || !got.Equal(in) {
		t.Errorf("%+v", got)
	}
}

func build(t *testing.T, client *clientv3.Client, target string, cc resolver.ClientConn) resolver.Resolver {
	t.Helper()
	r, err := grpcresolver.New(client).Build(parse(target), cc, resolver.BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestBadTargetIsRefused(t *testing.T) {
	client := etcdtest.Shared(t).Client(t)
	for _, target := range []string{"fenceline:///", "fenceline:///a/b"} {
		if _, err := grpcresolver.New(client).Build(parse(target), recorder{}, resolver.BuildOptions{}); err == nil || !strings.Contains(err.Error(), target) {
			t.Errorf("%s: %v", target, err)
		}
	}
}

func parse(target string) resolver.Target {
	u, err := url.Parse(target)
	if err != nil {
		panic(err)
	}
	return resolver.Target{URL: *u}
}
