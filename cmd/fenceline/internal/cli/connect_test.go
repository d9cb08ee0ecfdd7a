package cli

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

func TestMain(m *testing.M) {
	if signal.Ignored(syscall.SIGHUP) { // as under nohup, and the commands that are tested here would inherit that
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	goleak.VerifyTestMain(m)
}

// flags parses a command line of connection flags only, in an environment without them.
func flags(t *testing.T, args ...string) *app.Connection {
	t.Helper()
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, app.OwnEnvironment) || strings.HasPrefix(name, app.Etcdctls) {
			t.Setenv(name, "")
		}
	}
	c := &app.Connection{}
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	c.AddFlags(set)
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestFlagBeatsOwnEnvironmentBeatsEtcdctls(t *testing.T) {
	tests := []struct {
		args      []string
		own, ctl  string
		endpoints string
	}{
		{nil, "", "", "127.0.0.1:2379"},
		{nil, "", "ctl:1,ctl:2", "ctl:1 ctl:2"},
		{nil, "own:1", "ctl:1", "own:1"},
		{[]string{"--endpoints", "flag:1,flag:2"}, "own:1", "ctl:1", "flag:1 flag:2"},
	}
	for _, test := range tests {
		c := flags(t, test.args...)
		t.Setenv("FENCELINE_ENDPOINTS", test.own)
		t.Setenv("ETCDCTL_ENDPOINTS", test.ctl)
		for range 2 { // a second look changes nothing
			if err := c.FromEnvironment(); err != nil {
				t.Fatal(err)
			}
		}
		if got := strings.Join(c.Endpoints, " "); got != test.endpoints {
			t.Errorf("flags %q, FENCELINE_ENDPOINTS=%s, ETCDCTL_ENDPOINTS=%s: got %s", test.args, test.own, test.ctl, got)
		}
	}
}

func TestNearestOfTwoAlternativesCounts(t *testing.T) {
	c := flags(t)
	t.Setenv("FENCELINE_ENDPOINTS", "own:1")
	t.Setenv("ETCDCTL_DISCOVERY_SRV", "example.com")
	if err := c.FromEnvironment(); err != nil {
		t.Fatal(err)
	}
	if c.DiscoverySRV != "" || c.Endpoints[0] != "own:1" {
		t.Errorf("endpoints %q, domain %q", c.Endpoints, c.DiscoverySRV)
	}

	c = flags(t, "--endpoints", "a:1", "--discovery-srv", "example.com")
	wantUsageError(t, c.FromEnvironment(), "--endpoints and --discovery-srv exclude each other")
}

func TestBadValueInEnvironmentIsNamed(t *testing.T) {
	c := flags(t)
	t.Setenv("ETCDCTL_DIAL_TIMEOUT", "soon")
	wantUsageError(t, c.FromEnvironment(), `ETCDCTL_DIAL_TIMEOUT="soon"`)
}

func TestTLSIsInferred(t *testing.T) {
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	writeFile(t, ca, "")
	tests := []struct {
		args   []string
		secure bool
	}{
		{[]string{"--endpoints", "a:1"}, false},
		{[]string{"--endpoints", "http://a:1"}, false},
		{[]string{"--endpoints", "https://a:1"}, true},
		{[]string{"--endpoints", "a:1", "--cacert", ca}, true},
		{[]string{"--endpoints", "unix:/s"}, false},
		{[]string{"--endpoints", "unixs:///s"}, true},
	}
	for _, test := range tests {
		c := flags(t, test.args...)
		cfg, err := c.Config()
		if err != nil {
			t.Errorf("%q: %v", test.args, err)
		} else if secure := cfg.TLS != nil; secure != test.secure {
			t.Errorf("%q: TLS is %v", test.args, secure)
		}
	}
}

func TestSecureMembersOfADomainArePreferred(t *testing.T) {
	for given, want := range map[string]string{
		"http://a:1 https://b:1 http://b:1": "https://b:1",
		"http://a:1 http://b:1":             "http://a:1 http://b:1",
	} {
		if got := strings.Join(app.PreferSecure(strings.Fields(given)), " "); got != want {
			t.Errorf("of %s: %s", given, got)
		}
	}
}

func TestBadConnectionFlagsAreNamedBeforeAnyRequest(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	writeFile(t, empty, "\n")
	tests := []struct{ args, want string }{
		{"--endpoints localhost", `endpoint "localhost": not host:port`},
		{"--endpoints ftp://a:1", "none of http, https"},
		{"--endpoints http://a:1,https://b:1", "either all speak TLS or none"},
		{"--endpoints=", "there must be one"},
		{"--cert a.pem", "--cert and --key need each other"},
		{"--cacert /nowhere/ca.pem", "/nowhere/ca.pem"},
		{"--password x", "need --user"},
		{"--user bob:", "empty"},
		{"--user bob --password-file /nowhere/password", "/nowhere/password"},
		{"--user bob --password-file " + empty, "first line is empty"},
	}
	for _, test := range tests {
		_, err := flags(t, strings.Fields(test.args)...).Connect(t.Context())
		wantUsageError(t, err, test.want)
	}
}

func TestPasswordComesFromWhereItIsGiven(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	writeFile(t, file, "from file\nnot this\n")
	tests := []struct {
		args           []string
		user, password string
	}{
		{nil, "", ""},
		{[]string{"--user", "bob:secret:1"}, "bob", "secret:1"},
		{[]string{"--user", "bob", "--password", "p"}, "bob", "p"},
		{[]string{"--user", "b:ob", "--password", "p"}, "b:ob", "p"},
		{[]string{"--user", "bob", "--password-file", file}, "bob", "from file"},
	}
	for _, test := range tests {
		user, password, err := flags(t, test.args...).Credentials(t.Context())
		if err != nil || user != test.user || password != test.password {
			t.Errorf("%q: %q, %q, %v", test.args, user, password, err)
		}
	}
}

// pingWith connects as the flags say, and pings.
func pingWith(t *testing.T, args ...string) error {
	t.Helper()
	c := flags(t, args...)
	client, err := c.Connect(t.Context())
	if err != nil {
		return err
	}
	defer client.Close()
	return c.Ping(t.Context(), client)
}

func TestPingSaysWhyEtcdCannotBeReached(t *testing.T) {
	plain, secure := etcdtest.Shared(t), etcdtest.Start(t, etcdtest.WithTLS())
	address := func(m *etcdtest.Member) string { return strings.SplitN(m.Endpoint(), "://", 2)[1] }
	silent := etcdtest.NewProxy(t, plain)
	silent.Blackhole()
	tests := []struct{ name, args, want string }{
		{"nobody listens", "--endpoints 127.0.0.1:1", `cannot reach etcd at 127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused; start one with "fenceline dev"`},
		{"nobody listens, with a user", "--endpoints 127.0.0.1:1 --user bob:x", "connection refused"},
		{"none of two listens", "--endpoints 127.0.0.1:1,127.0.0.1:2", "connection refused"},
		{"TLS to plaintext", "--cacert " + secure.CACert() + " --endpoints " + address(plain), "does it want http://?"},
		{"plaintext to TLS", "--endpoints " + address(secure), "does it want https://"},
		{"unknown authority", "--endpoints " + secure.Endpoint(), "certificate signed by unknown authority"},
		{"silence for the whole time", "--dial-timeout 10s --command-timeout 200ms --endpoints " + silent.Endpoint(), "no answer within 200ms"},
		{"silence for one attempt", "--dial-timeout 200ms --endpoints " + silent.Endpoint(), "no answer to an attempt to connect"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			start := time.Now()
			err := pingWith(t, strings.Fields(test.args)...)
			if app.ExitCode(err) != app.ExitUnavailable || !strings.Contains(err.Error(), test.want) {
				t.Errorf("code %d: %v", app.ExitCode(err), err)
			}
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestPingIsAnsweredThroughTLS(t *testing.T) {
	m := etcdtest.Start(t, etcdtest.WithTLS())
	if err := pingWith(t, "--endpoints", m.Endpoint(), "--cacert", m.CACert()); err != nil {
		t.Error(err)
	}
}

func TestAuthenticationIsExplained(t *testing.T) {
	m := etcdtest.Start(t)
	enableAuth(t, m.Client(t))
	tests := []struct{ args, want string }{
		{"", "lets only users in, see --user"},
		{"--user bob:wrong", `refuses user "bob"`},
		{"--user bob:secret", ""}, // he may not read the key, but he is answered
		{"--user root:root", ""},
	}
	for _, test := range tests {
		err := pingWith(t, append(strings.Fields(test.args), "--endpoints", m.Endpoint())...)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%q: %v", test.args, err)
		}
	}
}

func enableAuth(t *testing.T, c *clientv3.Client) {
	t.Helper()
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { _, err := c.UserAdd(ctx, "root", "root"); return err },
		func(ctx context.Context) error { _, err := c.UserGrantRole(ctx, "root", "root"); return err },
		func(ctx context.Context) error { _, err := c.UserAdd(ctx, "bob", "secret"); return err },
		func(ctx context.Context) error { _, err := c.AuthEnable(ctx); return err },
	} {
		if err := step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func wantUsageError(t *testing.T, err error, want string) {
	t.Helper()
	if app.ExitCode(err) != app.ExitUsage || !strings.Contains(err.Error(), want) {
		t.Errorf("want a usage error with %q, got code %d: %v", want, app.ExitCode(err), err)
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
