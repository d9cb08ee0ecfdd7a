// Package zookeeper is the lock of go-zookeeper/zk on ZooKeeper as a rival: a line of sequential nodes, each of which
// watches the one before it, much as on etcd.
package zookeeper

import (
	"context"
	"fmt"
	"strings"

	"github.com/go-zookeeper/zk"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/rival"
)

// New is the lock on the ensemble at addrs, host:port each. ZooKeeper writes to the disk before it answers, unless its
// forceSync says otherwise, which it does not tell.
func New(ctx context.Context, addrs ...string) (bench.Subject, error) {
	name := "zk-lock-fsync"
	c, err := connect(ctx, addrs, bench.Defaults())
	if err != nil {
		return nil, err
	}
	c.Close()
	return rival.Subject(name, func(ctx context.Context, p bench.Place) (rival.Contender, error) {
		cfg := bench.Defaults()
		cfg.TTL = p.TTL
		conn, err := connect(ctx, addrs, cfg)
		if err != nil {
			return nil, err
		}
		return &contender{conn}, nil
	}), nil
}

// connect waits for a session, whose time-out is the TTL.
func connect(ctx context.Context, addrs []string, cfg bench.Config) (*zk.Conn, error) {
	conn, events, err := zk.Connect(addrs, cfg.TTL, zk.WithLogger(silent{}), zk.WithLogInfo(false))
	if err != nil {
		return nil, err
	}
	for {
		select {
		case e := <-events:
			if e.State == zk.StateHasSession {
				return conn, nil
			}
		case <-ctx.Done():
			conn.Close()
			return nil, fmt.Errorf("no session with ZooKeeper at %s: %w", strings.Join(addrs, ", "), context.Cause(ctx))
		}
	}
}

type silent struct{}

func (silent) Printf(string, ...any) {}

type contender struct{ conn *zk.Conn }

func (c *contender) Lock(_ context.Context, name string) (rival.Lock, error) {
	return &lock{zk.NewLock(c.conn, "/"+strings.TrimSuffix(name, "/"), zk.WorldACL(zk.PermAll))}, nil
}

func (c *contender) Close(context.Context) error {
	c.conn.Close()
	return nil
}

// lock waits without a context, as zk.Lock does: the end of the connection ends it.
type lock struct{ of *zk.Lock }

func (l *lock) Lock(context.Context) error   { return l.of.Lock() }
func (l *lock) Unlock(context.Context) error { return l.of.Unlock() }

const script = "/usr/share/zookeeper/bin/zkServer.sh"

// Installed says whether Start can start one.
func Installed() bool { return rival.Find("zkServer.sh", script) != "" }

// Start starts one that writes to the disk before it answers. Who connects before it has loaded its data is accepted
// while there is no server behind the port yet, and takes the thread down that serves connections.
func Start(ctx context.Context) (*rival.Server, error) {
	return rival.StartAfter(ctx, `mkdir conf && printf 'tickTime=2000\ndataDir=%s/data\nclientPort=%s\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\nadmin.enableServer=false\nforceSync=yes\n' "$DIR" "$PORT" >conf/zoo.cfg`,
		`env JMXDISABLE=true bash `+rival.Find("zkServer.sh", script)+` start-foreground $DIR/conf/zoo.cfg`, "TERM", "data/version-2/snapshot.*")
}
