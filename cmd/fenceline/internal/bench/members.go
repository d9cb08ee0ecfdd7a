package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
)

// benchMembers is an etcd of several members, each a process with the ticks and the durability of one in production.
// Their data stays in a temporary directory if we are killed; the processes end.
type benchMembers struct {
	config  clientv3.Config
	dir     string
	members []*benchMember
}

type benchMember struct {
	args     []string
	endpoint string
	cmd      *exec.Cmd // nil while it is dead
	stdin    io.Closer
	stdout   io.Reader
	talk     *bytes.Buffer
}

func startMembers(ctx context.Context, n int) (c *benchMembers, err error) {
	ports, err := freePorts(2 * n)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "fenceline-bench-")
	if err != nil {
		return nil, err
	}
	c = &benchMembers{dir: dir}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("m%d=http://%s", i, ports[n+i]))
	}
	for i := range n {
		name := fmt.Sprintf("m%d", i)
		c.members = append(c.members, &benchMember{args: []string{"dev", "--stdin-eof", "--data-dir", filepath.Join(dir, name),
			"--listen", ports[i], "--name", name, "--peer-listen", ports[n+i], "--initial-cluster", strings.Join(all, ","),
			"--heartbeat", "100ms", "--election", "1s"}})
	}
	for _, m := range c.members { // they wait for each other, so all run before any is ready
		if err := m.start(); err != nil {
			return nil, app.UnavailableErrorf("cannot start an etcd: %w", err)
		}
	}
	c.config = clientv3.Config{
		DialTimeout: etcdReadyTimeout,
		Logger:      zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: app.MaxBackoff},
			MinConnectTimeout: time.Second,
		})},
	}
	for _, m := range c.members {
		if err := m.ready(ctx); err != nil {
			return nil, app.UnavailableErrorf("cannot start an etcd: %w", err)
		}
		c.config.Endpoints = append(c.config.Endpoints, m.endpoint)
	}
	return c, nil
}

// freePorts are ports that nobody had a moment ago.
func freePorts(n int) ([]string, error) {
	var addresses []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // only when all are chosen: else one might be chosen twice
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}

func (m *benchMember) start() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, m.args...)
	m.talk = &bytes.Buffer{}
	cmd.Stderr = m.talk
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt at the terminal is for us: we clean up first
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	m.cmd, m.stdin, m.stdout = cmd, stdin, stdout
	return nil
}

func (m *benchMember) ready(ctx context.Context) (err error) {
	m.endpoint, err = firstLine(ctx, m.stdout)
	if err != nil {
		m.kill()
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(m.talk.String()))
	}
	return nil
}

func (m *benchMember) kill() {
	if m.cmd != nil {
		_ = m.cmd.Process.Kill() // it fails if the process has ended
		_ = m.cmd.Wait()         // it was killed
		m.cmd = nil
	}
}

// KillLeader kills the member that says it leads, at the highest term. It is Restore that starts it again.
func (c *benchMembers) KillLeader(ctx context.Context) error {
	var leader *benchMember
	var term uint64
	for _, m := range c.members {
		status, err := c.status(ctx, m)
		if err == nil && status.Leader == status.Header.MemberId && status.RaftTerm > term {
			leader, term = m, status.RaftTerm
		}
	}
	if leader == nil {
		return errors.New("no member of the started etcd says that it leads")
	}
	leader.kill()
	return nil
}

func (c *benchMembers) status(ctx context.Context, m *benchMember) (*clientv3.StatusResponse, error) {
	config := c.config
	config.Endpoints = []string{m.endpoint}
	client, err := clientv3.New(config)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return client.Status(ctx, m.endpoint)
}

// Restore starts the dead members again, with their data.
func (c *benchMembers) Restore(ctx context.Context) error {
	for _, m := range c.members {
		if m.cmd != nil {
			continue
		}
		if err := m.start(); err != nil {
			return err
		}
		if err := m.ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// close kills: their data is removed anyway.
func (c *benchMembers) close() {
	for _, m := range c.members {
		m.kill()
	}
	_ = os.RemoveAll(c.dir) // a temporary one; what stays is the system's to sweep
}
