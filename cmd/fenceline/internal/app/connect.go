package app

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
	MaxBackoff = time.Second
)

// Connection is how to reach etcd. Its flags have the names and meanings that etcdctl gives them.
type Connection struct {
	Endpoints              []string
	DiscoverySRV, srvName  string
	caCert, cert, key      string
	user                   string
	password, passwordFile string
	dialTimeout            time.Duration
	CommandTimeout         time.Duration
	skipVerify             bool
	plaintext              bool
	keepaliveTime          time.Duration
	keepaliveTimeout       time.Duration

	Flags *pflag.FlagSet
}

func (c *Connection) AddFlags(to *pflag.FlagSet) {
	c.Flags = pflag.NewFlagSet("connection", pflag.ContinueOnError)
	c.Flags.StringSliceVar(&c.Endpoints, "endpoints", []string{"127.0.0.1:2379"}, "`host:port` or URL of etcd members, separated by commas")
	c.Flags.StringVar(&c.DiscoverySRV, "discovery-srv", "", "find the members in the SRV records of this `domain`")
	c.Flags.StringVar(&c.srvName, "discovery-srv-name", "", "`name` of the service in those records, behind etcd-client-")
	c.Flags.StringVar(&c.caCert, "cacert", "", "verify members by the CA certificates in this `file`")
	c.Flags.StringVar(&c.cert, "cert", "", "identify to members by the certificate in this `file`")
	c.Flags.StringVar(&c.key, "key", "", "`file` with the key of --cert")
	c.Flags.StringVar(&c.user, "user", "", "authenticate as `name[:password]`")
	c.Flags.StringVar(&c.password, "password", "", "`password` of --user; others on this machine can see it, unlike --password-file")
	c.Flags.StringVar(&c.passwordFile, "password-file", "", "`file` that holds the password of --user")
	c.dialTimeout, c.CommandTimeout, c.keepaliveTime, c.keepaliveTimeout = 2*time.Second, 5*time.Second, keepaliveTime, keepaliveTimeout
	c.Flags.Var((*Seconds)(&c.dialTimeout), "dial-timeout", "`seconds` for one attempt to connect, and for authentication")
	c.Flags.Var((*Seconds)(&c.CommandTimeout), "command-timeout", "`seconds` for requests that wait for nobody")
	c.Flags.Var((*Seconds)(&c.keepaliveTime), "keepalive-time", "`seconds` of silence after which a connection is asked for a sign of life")
	c.Flags.Var((*Seconds)(&c.keepaliveTimeout), "keepalive-timeout", "`seconds` after that until it is given up")
	c.Flags.BoolVar(&c.plaintext, "insecure-transport", true, "=false: speak TLS also where endpoints have no scheme")
	c.Flags.BoolVar(&c.skipVerify, "insecure-skip-tls-verify", false, "do not verify the certificates of members: whoever is on the way can read and change all")
	to.AddFlagSet(c.Flags)
}

// Connect makes the client that the flags and the environment describe. Without a user it sends nothing yet: whoever
// only reads asks ping first whether etcd is there; session.Open finds out by itself. The caller closes the client.
func (g *Globals) Connect(ctx context.Context) (*clientv3.Client, error) {
	return g.Connection.Connect(ctx)
}

func (c *Connection) Connect(ctx context.Context) (*clientv3.Client, error) {
	if err := c.FromEnvironment(); err != nil {
		return nil, err
	}
	cfg, err := c.Config()
	if err != nil {
		return nil, err
	}
	user, password, err := c.Credentials(ctx)
	if err != nil {
		return nil, err
	}
	if user != "" {
		// The client logs in as soon as it exists, and when it cannot it does not say why.
		if err := c.PingAnonymously(ctx, cfg); err != nil {
			return nil, err
		}
		cfg.Username, cfg.Password = user, password
	}
	client, err := clientv3.New(cfg)
	if err != nil && user != "" {
		return nil, UnavailableErrorf("etcd at %s refuses user %q: %w", strings.Join(cfg.Endpoints, ", "), user, err)
	}
	if err != nil {
		return nil, UnavailableErrorf("cannot connect to %s: %w", strings.Join(cfg.Endpoints, ", "), err)
	}
	return client, nil
}

// Config is everything but the user.
func (c *Connection) Config() (clientv3.Config, error) {
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
		return clientv3.Config{}, UsageErrorf("TLS: %w", err)
	}
	cfg.Logger = zap.NewNop() // stderr is ours
	cfg.DialOptions = []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: MaxBackoff},
		MinConnectTimeout: c.dialTimeout,
	})}
	return *cfg, nil
}

// members are the endpoints as given, or as the domain says.
func (c *Connection) members() ([]string, error) {
	if c.DiscoverySRV == "" {
		for i, endpoint := range c.Endpoints {
			c.Endpoints[i] = strings.TrimSpace(endpoint)
			if err := checkEndpoint(c.Endpoints[i]); err != nil {
				return nil, UsageErrorf("endpoint %q: %w", endpoint, err)
			}
		}
		if len(c.Endpoints) == 0 {
			return nil, UsageErrorf("--endpoints: there must be one")
		}
		return c.Endpoints, nil
	}
	found, err := srv.GetClient("etcd-client", c.DiscoverySRV, c.srvName)
	if err != nil {
		return nil, UnavailableErrorf("--discovery-srv %s: %w", c.DiscoverySRV, err)
	}
	for i, endpoint := range found.Endpoints { // the root of all domains is in no certificate and in no hosts file
		found.Endpoints[i] = strings.Replace(endpoint, ".:", ":", 1)
	}
	return PreferSecure(found.Endpoints), nil
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

// Ask asks something of etcd, within --command-timeout, if it is there.
func (g *Globals) Ask(ctx context.Context, question func(context.Context, *clientv3.Client) error) error {
	client, err := g.Connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := g.Ping(ctx, client); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, g.Connection.CommandTimeout)
	defer cancel()
	return Answered(question(ctx, client))
}

// Answered is what came of a question: what went wrong is etcd's, unless the question says otherwise by an ExitError.
func Answered(err error) error {
	var said *ExitError
	if err == nil || errors.As(err, &said) {
		return err
	}
	return UnavailableErrorf("%w", err)
}

// Named says whether the user says where etcd is.
func (c *Connection) Named() bool {
	return c.FromEnvironment() == nil && (c.Flags.Changed("endpoints") || c.Flags.Changed("discovery-srv"))
}

// SameCluster are flags to reach it, but for the user.
func (c *Connection) SameCluster(etcd clientv3.Config) []string {
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
