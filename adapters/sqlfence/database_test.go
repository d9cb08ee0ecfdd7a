package sqlfence

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/fenceline/fenceline/fence"
)

func TestMain(m *testing.M) {
	if os.Getenv("SQLFENCE_HOLDER") != "" {
		if err := holdAndCount(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	for _, s := range running {
		s.end()
	}
	os.Exit(code)
}

var running []*server

var errNotInstalled = errors.New("not installed")

var postgres = sync.OnceValues(func() (*server, error) {
	const debian = "/usr/lib/postgresql/*/bin/"
	initdb, serve := find("initdb", debian+"initdb"), find("postgres", debian+"postgres")
	if initdb == "" || serve == "" {
		return nil, errNotInstalled
	}
	return started(
		initdb+" -D data -A trust -U postgres -E UTF8 --locale=C -N",
		serve+` -D data -F -k "$PWD" -c listen_addresses=`,
		"INT")
})

var mariadb = sync.OnceValues(func() (*server, error) {
	serve := find("mariadbd", "/usr/sbin/mariadbd")
	if serve == "" {
		return nil, errNotInstalled
	}
	return started( // without system tables and users it needs no installation
		"mkdir data",
		serve+` --no-defaults --datadir="$PWD/data" --socket="$PWD/socket" --pid-file="$PWD/pid" --skip-networking --skip-grant-tables`,
		"TERM")
})

func started(prepare, serve, stop string) (*server, error) {
	s, err := run(prepare, serve, stop)
	if err == nil {
		running = append(running, s)
	}
	return s, err
}

// database is one of the test's own.
type database struct {
	dialect     fence.Dialect
	driver, dsn string
}

var databases atomic.Int64

// each runs f on each kind of database that is installed here.
func each(t *testing.T, f func(*testing.T, database)) {
	for dialect, fresh := range map[fence.Dialect]func(*testing.T, string) database{
		fence.PostgreSQL: func(t *testing.T, name string) database {
			s := up(t, "PostgreSQL (Debian: apt-get install postgresql)", postgres)
			dsn := "user=postgres dbname=postgres sslmode=disable host=" + s.dir
			prepare(t, s, "pgx", dsn, "CREATE SCHEMA "+name)
			return database{driver: "pgx", dsn: dsn + " search_path=" + name}
		},
		fence.MySQL: func(t *testing.T, name string) database {
			s := up(t, "MariaDB (Debian: apt-get install mariadb-server-core)", mariadb)
			dsn := "root@unix(" + s.dir + "/socket)/"
			prepare(t, s, "mysql", dsn, "CREATE DATABASE "+name)
			return database{driver: "mysql", dsn: dsn + name}
		},
		fence.SQLite: func(t *testing.T, name string) database {
			return database{driver: "sqlite", dsn: "file:" + filepath.Join(t.TempDir(), name) + "?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)"}
		},
	} {
		t.Run(dialect.String(), func(t *testing.T) {
			d := fresh(t, fmt.Sprintf("test%d", databases.Add(1)))
			d.dialect = dialect
			f(t, d)
		})
	}
}

func up(t *testing.T, what string, start func() (*server, error)) *server {
	t.Helper()
	s, err := start()
	if errors.Is(err, errNotInstalled) {
		t.Skipf("%s is not installed", what)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// prepare waits until the server is ready.
func prepare(t *testing.T, s *server, driver, dsn, statement string) {
	t.Helper()
	db := open(t, database{driver: driver, dsn: dsn})
	deadline := time.Now().Add(time.Minute)
	for err := db.Ping(); err != nil; err = db.Ping() {
		if time.Now().After(deadline) {
			t.Fatalf("%v; the server says:\n%s", err, s.said())
		}
		time.Sleep(20 * time.Millisecond)
	}
	execute(t, db, statement)
}

func open(t *testing.T, d database) *sql.DB {
	t.Helper()
	db, err := sql.Open(d.driver, d.dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// withTable is a database with the table fence, and a counter that stands at 0.
func withTable(t *testing.T, d database) *sql.DB {
	t.Helper()
	db := open(t, d)
	execute(t, db, d.dialect.Schema())
	execute(t, db, d.dialect.Schema()) // harmless the second time
	execute(t, db, "CREATE TABLE counter (n BIGINT NOT NULL)")
	execute(t, db, "INSERT INTO counter VALUES (0)")
	return db
}

func execute(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.Exec(statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func count(t *testing.T, db *sql.DB) (n int) {
	t.Helper()
	if err := db.QueryRow("SELECT n FROM counter").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// add reads and writes the counter in one transaction, which only the fence keeps apart from others.
func add(ctx context.Context, db *sql.DB, name string, token fence.Token) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := fence.SQL(ctx, tx, name, token); err != nil {
		return err
	}
	var n int
	if err := tx.QueryRowContext(ctx, "SELECT n FROM counter").Scan(&n); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("UPDATE counter SET n = %d", n+1)); err != nil {
		return err
	}
	return tx.Commit()
}
