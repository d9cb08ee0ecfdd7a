package goose_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/pressly/goose/v3"
	gooselock "github.com/pressly/goose/v3/lock"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock/adapt"
	"github.com/fenceline/fenceline/session"
)

var _ gooselock.Locker = (*adapt.GooseLocker)(nil)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open is a session of its own process, as it were.
func open(t *testing.T, client *clientv3.Client) *session.Session {
	t.Helper()
	s, err := session.Open(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// provider has two migrations: a function, and then two statements that do not work twice.
func provider(t *testing.T, s *session.Session, name, file string, first func(context.Context, *sql.Tx) error) *goose.Provider {
	t.Helper()
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	p, err := goose.NewProvider(goose.DialectSQLite3, db,
		fstest.MapFS{"00002_orders.sql": {Data: []byte(`
-- +goose Up
CREATE TABLE orders (id INTEGER PRIMARY KEY);
INSERT INTO orders (id) VALUES (1);
`)}},
		goose.WithGoMigrations(goose.NewGoMigration(1, &goose.GoFunc{RunTx: first}, nil)),
		goose.WithDisableGlobalRegistry(true),
		goose.WithLocker(adapt.Goose(s, name)))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEachMigrationRunsInOneOfTwoProviders(t *testing.T) {
	client, name, file := etcdtest.Shared(t).Client(t), etcdtest.Name(t), filepath.Join(t.TempDir(), "db")
	inLine := func() int { return len(etcdtest.Keys(t, client, "fenceline/lock/"+name+"/")) }
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var first, all atomic.Int64
	var wg sync.WaitGroup
	for range 2 {
		p := provider(t, open(t, client), name, file, func(ctx context.Context, _ *sql.Tx) error {
			first.Add(1)
			for inLine() < 2 { // until the other provider waits
				if ctx.Err() != nil {
					return ctx.Err()
				}
			}
			return nil
		})
		wg.Go(func() {
			results, err := p.Up(ctx)
			if err != nil {
				t.Error(err)
			}
			all.Add(int64(len(results)))
		})
	}
	wg.Wait()
	if first.Load() != 1 || all.Load() != 2 {
		t.Errorf("the first migration ran %d times, and %d ran in all", first.Load(), all.Load())
	}
	if n := inLine(); n != 0 {
		t.Errorf("%d entries left", n)
	}
}

func TestLossDuringAMigrationIsAnErrorOfUp(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client)
	p := provider(t, s, name, filepath.Join(t.TempDir(), "db"), func(ctx context.Context, _ *sql.Tx) error {
		lease := s.Lease()
		_, err := client.Revoke(ctx, lease)
		for s.Lease() == lease && ctx.Err() == nil { // until the loss is noticed
			time.Sleep(5 * time.Millisecond)
		}
		return err
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := p.Up(ctx); !errors.Is(err, session.ErrLost) {
		t.Errorf("Up: %v", err)
	}
}
