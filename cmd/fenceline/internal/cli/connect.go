package cli

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/client/pkg/v3/srv"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

const (
	// How soon a connection that has gone silent is given up: etcdctl's values.
	keepaliveTime    = 2 * time.Second
	keepaliveTimeout = 6 * time.Second

	// Between attempts to connect. gRPC's own two minutes outlive any lease.
	maxBackoff = time.Second
)

// connection is how to reach etcd. Its flags have the names and meanings that etcdctl gives them.
type connection struct {
	endpoints              []string
	discoverySRV, srvName  string
	caCert, cert, key      string
	user                   string
	password, passwordFile string
	dialTimeout            time.Duration
	commandTimeout         time.Duration
	skipVerify             bool
	plaintext              bool
	keepaliveTime          time.Duration
	keepaliveTimeout       time.Duration

	flags *pflag.FlagSet
}

func (c *connection) addFlags(to *pflag.FlagSet) {
	c.flags = pflag.NewFlagSet("connection", pflag.ContinueOnError)
	c.flags.StringSliceVar(&c.endpoints, "endpoints", []string{"127.0.0.1:2379"}, "`host:port` or URL of etcd members, separated by commas")
	c.flags.StringVar(&c.discoverySRV, "discovery-srv", "", "find the members in the SRV records of this `domain`")
	c.flags.StringVar(&c.srvName, "discovery-srv-name", "", "`name` of the service in those records, behind etcd-client-")
	c.flags.StringVar(&c.caCert, "cacert", "", "verify members by the CA certificates in this `file`")
	c.flags.StringVar(&c.cert, "cert", "", "identify to members by the certificate in this `file`")
	c.flags.StringVar(&c.key, "key", "", "`file` with the key of --cert")
	c.flags.StringVar(&c.user, "user", "", "authenticate as `name[:password]`")
	c.flags.StringVar(&c.password, "password", "", "`password` of --user; others on this machine can see it, unlike --password-file")
	c.flags.StringVar(&c.passwordFile, "password-file", "", "`file` that holds the password of --user")
	c.dialTimeout, c.commandTimeout, c.keepaliveTime, c.keepaliveTimeout = 2*time.Second, 5*time.Second, keepaliveTime, keepaliveTimeout
	c.flags.Var((*seconds)(&c.dialTimeout), "dial-timeout", "`seconds` for one attempt to connect, and for authentication")
	c.flags.Var((*seconds)(&c.commandTimeout), "command-timeout", "`seconds` for requests that wait for nobody")
	c.flags.Var((*seconds)(&c.keepaliveTime), "keepalive-time", "`seconds` of silence after which a connection is asked for a sign of life")
	c.flags.Var((*seconds)(&c.keepaliveTimeout), "keepalive-timeout", "`seconds` after that until it is given up")
	c.flags.BoolVar(&c.plaintext, "insecure-transport", true, "=false: speak TLS also where endpoints have no scheme")
	c.flags.BoolVar(&c.skipVerify, "insecure-skip-tls-verify", false, "do not verify the certificates of members: whoever is on the way can read and change all")
	to.AddFlagSet(c.flags)
}

// connect makes the client that the flags and the environment describe. Without a user it sends nothing yet: whoever
// only reads asks ping first whether etcd is there; session.Open finds out by itself. The caller closes the client.
func (g *globals) connect(ctx context.Context) (*clientv3.Client, error) {
	return g.connection.connect(ctx)
}

func (c *connection) connect(ctx context.Context) (*clientv3.Client, error) {
	if err := c.fromEnvironment(); err != nil {
		return nil, err
	}
	cfg, err := c.config()
	if err != nil {
		return nil, err
	}
	user, password, err := c.credentials(ctx)
	if err != nil {
		return nil, err
	}
	if user != "" {
		// The client logs in as soon as it exists, and when it cannot it does not say why.
		if err := c.pingAnonymously(ctx, cfg); err != nil {
			return nil, err
		}
		cfg.Username, cfg.Password = user, password
	}
	client, err := clientv3.New(cfg)
	if err != nil && user != "" {
		return nil, unavailableErrorf("etcd at %s refuses user %q: %w", strings.Join(cfg.Endpoints, ", "), user, err)
	}
	if err != nil {
		return nil, unavailableErrorf("cannot connect to %s: %w", strings.Join(cfg.Endpoints, ", "), err)
	}
	return client, nil
}

// config is everything but the user.
func (c *connection) config() (clientv3.Config, error) {
	endpoints, err := c.members()
	if err != nil {
		return clientv3.Config{}, err
	}
	secure, err := c.secure(endpoints)
	if err != nil {
		return clientv3.Config{}, err
	}
	cfg, err := clientv3.NewClientConfig(&clientv3.ConfigSpec{
		Endpoints:        endpoints,
		DialTimeout:      c.dialTimeout,
		KeepAliveTime:    c.keepaliveTime,
		KeepAliveTimeout: c.keepaliveTimeout,
		Secure:           secure,
	}, zap.NewNop())
	if err != nil {
		return clientv3.Config{}, usageErrorf("TLS: %w", err)
	}
	cfg.Logger = zap.NewNop() // stderr is ours
	cfg.DialOptions = []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxBackoff},
		MinConnectTimeout: c.dialTimeout,
	})}
	return *cfg, nil
}

// members are the endpoints as given, or as the domain says.
func (c *connection) members() ([]string, error) {
	if c.discoverySRV == "" {
		for i, endpoint := range c.endpoints {
			c.endpoints[i] = strings.TrimSpace(endpoint)
			if err := checkEndpoint(c.endpoints[i]); err != nil {
				return nil, usageErrorf("endpoint %q: %w", endpoint, err)
			}
		}
		if len(c.endpoints) == 0 {
			return nil, usageErrorf("--endpoints: there must be one")
		}
		return c.endpoints, nil
	}
	found, err := srv.GetClient("etcd-client", c.discoverySRV, c.srvName)
	if err != nil {
		return nil, unavailableErrorf("--discovery-srv %s: %w", c.discoverySRV, err)
	}
	for i, endpoint := range found.Endpoints { // the root of all domains is in no certificate and in no hosts file
		found.Endpoints[i] = strings.Replace(endpoint, ".:", ":", 1)
	}
	return preferSecure(found.Endpoints), nil
}

func checkEndpoint(text string) error {
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		scheme, rest = "http", text
		if strings.HasPrefix(text, "unix:") || strings.HasPrefix(text, "unixs:") {
			return nil
		}
	}
	switch scheme {
	case "unix", "unixs":
		return nil
	case "http", "https":
		u, err := url.Parse(scheme + "://" + rest)
		if err != nil {
			return err
		}
		if _, port, err := net.SplitHostPort(u.Host); err != nil || port == "" {
			return errors.New("not host:port")
		}
		return nil
	}
	return errors.New("its scheme is none of http, https, unix, unixs")
}

// ask asks something of etcd, within --command-timeout, if it is there.
func (g *globals) ask(ctx context.Context, question func(context.Context, *clientv3.Client) error) error {
	client, err := g.connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := g.ping(ctx, client); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, g.connection.commandTimeout)
	defer cancel()
	return answered(question(ctx, client))
}

// answered is what came of a question: what went wrong is etcd's, unless the question says otherwise by an ExitError.
func answered(err error) error {
	var said *ExitError
	if err == nil || errors.As(err, &said) {
		return err
	}
	return unavailableErrorf("%w", err)
}

// named says whether the user says where etcd is.
func (c *connection) named() bool {
	return c.fromEnvironment() == nil && (c.flags.Changed("endpoints") || c.flags.Changed("discovery-srv"))
}

// sameCluster are flags to reach it, but for the user.
func (c *connection) sameCluster(etcd clientv3.Config) []string {
	flags := []string{"--endpoints=" + strings.Join(etcd.Endpoints, ",")}
	if etcd.TLS == nil {
		return flags
	}
	for name, value := range map[string]string{"cacert": c.caCert, "cert": c.cert, "key": c.key} {
		if value != "" {
			flags = append(flags, "--"+name+"="+value)
		}
	}
	return flags
}
