// Package redis is redsync, the usual lock on Redis, as a rival: it polls with a random delay, has no order, and no more
// durability than its Redis.
package redis

import (
	"context"
	"errors"
	"sync"

	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	client "github.com/redis/go-redis/v9"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/rival"
)

// New is redsync on the Redis at addr, host:port. The name says how durable that is, as far as it says so itself.
func New(ctx context.Context, addr string) (bench.Subject, error) {
	c := connect(addr)
	defer c.Close()
	if err := c.Ping(ctx).Err(); err != nil {
		return nil, err
	}
	return rival.Subject("redsync-"+durability(ctx, c), func(_ context.Context, p bench.Place) (rival.Contender, error) {
		c := connect(addr)
		return &contender{c, redsync.New(goredis.NewPool(c)), p}, nil
	}), nil
}

// silent keeps the client from writing to stderr what its errors say, too.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

var silence = sync.OnceFunc(func() { client.SetLogger(silent{}) })

func connect(addr string) *client.Client {
	silence()
	return client.NewClient(&client.Options{Addr: addr, MaxRetries: -1})
}

// durability is when Redis has written what it has answered: fsync-always, fsync-everysec, or memory.
func durability(ctx context.Context, c *client.Client) string {
	on, err := c.ConfigGet(ctx, "appendonly").Result()
	if err != nil {
		return "unknown" // it does not tell everybody
	}
	if on["appendonly"] != "yes" {
		return "memory"
	}
	when, err := c.ConfigGet(ctx, "appendfsync").Result()
	if err != nil {
		return "unknown"
	}
	return "fsync-" + when["appendfsync"]
}

type contender struct {
	client *client.Client
	sync   *redsync.Redsync
	place  bench.Place
}

// Lock has redsync's own delays between attempts, and no end of them: a benchmark waits as long as it takes.
func (c *contender) Lock(_ context.Context, name string) (rival.Lock, error) {
	return lock{c.sync.NewMutex(name, redsync.WithExpiry(c.place.TTL), redsync.WithTries(1<<30))}, nil
}

func (c *contender) Close(context.Context) error { return c.client.Close() }

type lock struct{ *redsync.Mutex }

func (l lock) Lock(ctx context.Context) error { return l.LockContext(ctx) }

func (l lock) Unlock(ctx context.Context) error {
	ok, err := l.UnlockContext(ctx)
	if err == nil && !ok {
		err = errors.New("redis: the lock was not held any more")
	}
	return err
}

// Installed says whether Start can start one.
func Installed() bool { return rival.Find("redis-server") != "" }

// Start starts one that writes to the disk before it answers, or one that keeps all in memory.
func Start(ctx context.Context, durable bool) (*rival.Server, error) {
	keep := `--appendonly no`
	if durable {
		keep = `--appendonly yes --appendfsync always`
	}
	return rival.Start(ctx, ":", rival.Find("redis-server")+` --bind 127.0.0.1 --port $PORT --dir $DIR --save "" `+keep, "TERM")
}
