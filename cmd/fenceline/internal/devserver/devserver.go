// Package devserver runs an etcd member inside this process, set up for development and tests: ready in a
// fraction of a second, quiet, on loopback. It is an ordinary etcd in every other way.
package devserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

const (
	readyTimeout = 10 * time.Second // a single member takes a tenth of a second; members of a cluster wait for each other
	leaveTimeout = 200 * time.Millisecond
)

// Config says what to start. Only Listen is needed.
type Config struct {
	Listen  string // host:port of the client listener; port 0 means any free one
	DataDir string // empty: a temporary directory, removed by Close
	NoFsync bool   // faster, and the data does not survive a crash of the machine

	Heartbeat, Election time.Duration // default 10 and 100 ms; the shortest lease is 1.5 elections, in whole seconds

	CertFile, KeyFile string // both set: the client listener speaks TLS

	// A member of a cluster: its name, the host:port of its peer listener, and all members as
	// "name=http://host:port,…". Empty: a cluster of one.
	Name, PeerListen, InitialCluster string

	Log io.Writer // why etcd gave up, when it does; nil drops it
}

// Server is a running member.
type Server struct {
	etcd     *embed.Etcd
	endpoint string
	tempDir  string
	tempLock *os.File // says that tempDir is in use
}

// Start returns when the member serves clients, or says why it does not. When it fails, or ctx ends first,
// nothing is left behind.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	s := &Server{}
	if cfg.DataDir == "" {
		dir, lock, err := newTempDir()
		if err != nil {
			return nil, fmt.Errorf("data directory: %w", err)
		}
		s.tempDir, s.tempLock, cfg.DataDir = dir, lock, dir
	} else if err := checkDataDir(cfg.DataDir); err != nil {
		return nil, fmt.Errorf("data directory %s: %w", cfg.DataDir, err)
	}
	if err := s.start(ctx, cfg); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, cfg Config) error {
	var err error
	// Between choosing a free port and etcd's listening on it somebody else may take it.
	for range 5 {
		var listen string
		if listen, err = freeAddress(cfg.Listen); err != nil {
			return fmt.Errorf("cannot listen on %s: %w", cfg.Listen, err)
		}
		ec := cfg.embed(listen)
		if s.etcd, err = embed.StartEtcd(ec); err == nil {
			s.endpoint = ec.AdvertiseClientUrls[0].String()
			break
		}
		if listen == cfg.Listen || !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
	}
	if err != nil {
		return err
	}

	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, fmt.Errorf("etcd is not ready after %v", readyTimeout))
	defer cancel()
	select {
	case <-s.etcd.Server.ReadyNotify():
		return nil
	case err := <-s.etcd.Err():
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Endpoint is the URL that clients on this machine connect to.
func (s *Server) Endpoint() string { return s.endpoint }

// Failed yields an error if the member ends by itself.
func (s *Server) Failed() <-chan error { return s.etcd.Err() }

// Close stops the member and removes a temporary data directory. Clients that stay connected have little time to
// leave: etcd itself would wait seven seconds for an open watch.
func (s *Server) Close() error {
	if s.etcd != nil {
		stopped, closed := make(chan struct{}), make(chan struct{})
		go func() {
			s.etcd.Server.Stop()
			close(stopped)
			s.etcd.Close()
			close(closed)
		}()
		<-stopped
		select {
		case <-closed:
		case <-time.After(leaveTimeout):
		}
	}
	if s.tempDir != "" {
		defer s.tempLock.Close()
		return os.RemoveAll(s.tempDir)
	}
	return nil
}

func (cfg *Config) embed(listen string) *embed.Config {
	ec := embed.NewConfig()
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(newLogger(cfg.Log))
	ec.Dir = cfg.DataDir
	ec.UnsafeNoFsync = cfg.NoFsync
	ec.TickMs = milliseconds(cfg.Heartbeat, 10*time.Millisecond)
	ec.ElectionMs = milliseconds(cfg.Election, 100*time.Millisecond)
	ec.AutoCompactionMode, ec.AutoCompactionRetention = embed.CompactorModeRevision, "10000"

	client := url.URL{Scheme: "http", Host: listen}
	if cfg.CertFile != "" {
		client.Scheme = "https"
		ec.ClientTLSInfo.CertFile, ec.ClientTLSInfo.KeyFile = cfg.CertFile, cfg.KeyFile
	}
	ec.ListenClientUrls = []url.URL{client}
	client.Host = reachable(client.Host)
	ec.AdvertiseClientUrls = []url.URL{client}

	peer := url.URL{Scheme: "http", Host: cfg.PeerListen}
	if peer.Host == "" {
		peer.Host = "127.0.0.1:0" // nobody calls the only member
	}
	ec.ListenPeerUrls, ec.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	ec.Name = cfg.Name
	if ec.Name == "" {
		ec.Name = "dev"
	}
	ec.InitialCluster = cfg.InitialCluster
	if ec.InitialCluster == "" {
		ec.InitialCluster = ec.Name + "=" + peer.String()
	}
	return ec
}

func milliseconds(d, fallback time.Duration) uint {
	if d == 0 {
		d = fallback
	}
	return uint(d.Milliseconds())
}

// CheckListen says why address is not one that etcd can listen on.
func CheckListen(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return errors.New("not host:port")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q is not a port, 0 to 65535", port)
	}
	if host != "localhost" && net.ParseIP(host) == nil {
		return fmt.Errorf("%q is not an IP address nor localhost", host)
	}
	return nil
}

// freeAddress returns address with a port that was free a moment ago, or the reason why it cannot be had.
func freeAddress(address string) (string, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return "", err
	}
	defer l.Close()
	host, _, _ := net.SplitHostPort(address)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return net.JoinHostPort(host, port), nil
}

// reachable is where clients of this machine find a listener that may be on all its addresses.
func reachable(listen string) string {
	host, port, _ := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
