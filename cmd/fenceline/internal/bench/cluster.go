package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
)

const (
	etcdReadyTimeout = 15 * time.Second
	etcdEndTimeout   = 5 * time.Second
)

// benchCluster is the etcd to measure against: the one that the flags name, or one of our own.
type benchCluster struct {
	config clientv3.Config
	own    *exec.Cmd // nil with endpoints
	stdin  io.Closer // of own, which ends with it: it does not outlive us, however we end
}

func openCluster(g *app.Globals, ctx context.Context, stderr io.Writer) (*benchCluster, error) {
	c := &g.Connection
	if err := c.FromEnvironment(); err != nil {
		return nil, err
	}
	if !c.Flags.Changed("endpoints") && !c.Flags.Changed("discovery-srv") {
		return ownCluster(ctx, stderr)
	}
	return namedCluster(ctx, c)
}

// namedCluster is the configuration for clients that connect and ping succeed with. A password that is asked for at the
// terminal is asked for once.
func namedCluster(ctx context.Context, c *app.Connection) (*benchCluster, error) {
	config, err := c.Config()
	if err != nil {
		return nil, err
	}
	config.Username, config.Password, err = c.Credentials(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.PingAnonymously(ctx, config); err != nil {
		return nil, err
	}
	return &benchCluster{config: config}, nil
}

// ownCluster starts "fenceline dev" with the ticks and the durability of an etcd in production.
func ownCluster(ctx context.Context, stderr io.Writer) (*benchCluster, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var talk bytes.Buffer
	cmd := exec.Command(self, "dev", "--ephemeral", "--stdin-eof", "--listen", "127.0.0.1:0", "--heartbeat", "100ms", "--election", "1s")
	cmd.Stderr = &talk
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt at the terminal is for us: we clean up first
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, app.UnavailableErrorf("cannot start an etcd: %w", err)
	}
	c := &benchCluster{own: cmd, stdin: stdin}
	endpoint, err := firstLine(ctx, stdout)
	if err != nil {
		c.close()
		return nil, app.UnavailableErrorf("cannot start an etcd: %w: %s", err, strings.TrimSpace(talk.String()))
	}
	fmt.Fprintf(stderr, "Started an etcd at %s.\n", endpoint)
	c.config = clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: etcdReadyTimeout, Logger: zap.NewNop()}
	return c, nil
}

// close ends our own etcd and waits for that: it removes its data.
func (c *benchCluster) close() {
	if c.own == nil {
		return
	}
	_ = c.stdin.Close()
	kill := time.AfterFunc(etcdEndTimeout, func() { _ = c.own.Process.Kill() })
	defer kill.Stop()
	_ = c.own.Wait() // it has been asked to end; how it does says nothing about the measurement
}

// firstLine is what a server says when it is ready.
func firstLine(ctx context.Context, from io.Reader) (string, error) {
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(from).ReadString('\n')
		line <- strings.TrimSpace(text)
	}()
	select {
	case text := <-line:
		if text == "" {
			return "", errors.New("it ended before it was ready")
		}
		return text, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case <-time.After(etcdReadyTimeout):
		return "", fmt.Errorf("it is not ready after %v", etcdReadyTimeout)
	}
}
