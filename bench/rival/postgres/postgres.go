// Package postgres is PostgreSQL's advisory lock as a rival. It lives in the memory of one server, and ends with the
// connection; nothing of it reaches the disk.
package postgres

import (
	"context"
	"errors"
	"hash/fnv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/rival"
)

// New is the advisory lock of the server at url, as pgx takes it: postgres://user@host:port/database.
func New(ctx context.Context, url string) (bench.Subject, error) {
	if err := ready(ctx, url); err != nil {
		return nil, err
	}
	return rival.Subject("pg-advisory-memory", func(context.Context, bench.Place) (rival.Contender, error) {
		return &contender{url: url}, nil
	}), nil
}

// startingUp is what a server says that accepts connections and serves none yet.
const startingUp = "57P03"

func ready(ctx context.Context, url string) error {
	for {
		conn, err := pgx.Connect(ctx, url)
		if err == nil {
			return conn.Close(ctx)
		}
		var said *pgconn.PgError
		if !errors.As(err, &said) || said.Code != startingUp {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// contender has a connection for each goroutine: all on one connection would hold together.
type contender struct {
	url   string
	mu    sync.Mutex
	conns []*pgx.Conn
}

func (c *contender) Lock(ctx context.Context, name string) (rival.Lock, error) {
	conn, err := pgx.Connect(ctx, c.url)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns = append(c.conns, conn)
	h := fnv.New64a()
	h.Write([]byte(name))
	return &lock{conn, int64(h.Sum64())}, nil
}

func (c *contender) Close(ctx context.Context) (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		err = errors.Join(err, conn.Close(ctx))
	}
	return err
}

type lock struct {
	conn *pgx.Conn
	key  int64
}

func (l *lock) Lock(ctx context.Context) error {
	_, err := l.conn.Exec(ctx, "SELECT pg_advisory_lock($1)", l.key)
	return err
}

func (l *lock) Unlock(ctx context.Context) error {
	var held bool
	err := l.conn.QueryRow(ctx, "SELECT pg_advisory_unlock($1)", l.key).Scan(&held)
	if err == nil && !held {
		err = errors.New("postgres: the lock was not held any more")
	}
	return err
}

const serverPattern = "/usr/lib/postgresql/*/bin/"

// Installed says whether Start can start one.
func Installed() bool { return rival.Find("initdb", serverPattern+"initdb") != "" }

// Start starts one; URL is how to reach it.
func Start(ctx context.Context) (*rival.Server, error) {
	initdb, postgres := rival.Find("initdb", serverPattern+"initdb"), rival.Find("postgres", serverPattern+"postgres")
	return rival.Start(ctx, initdb+" --auth=trust --username=bench --no-sync data",
		postgres+" -D data -h 127.0.0.1 -p $PORT -k $DIR -c max_connections=1000", "INT")
}

// URL is that of a server that Start has started.
func URL(s *rival.Server) string { return "postgres://bench@" + s.Addr + "/postgres?sslmode=disable" }
