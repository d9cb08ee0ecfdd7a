package sqlfence

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fenceline/fenceline/fence"
)

// raise does nothing but raise, in a transaction of its own.
func raise(t *testing.T, db *sql.DB, name string, token fence.Token) error {
	t.Helper()
	tx := begin(t, db, nil)
	if err := fence.SQL(t.Context(), tx, name, token); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func begin(t *testing.T, db *sql.DB, opts *sql.TxOptions) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Rollback() })
	return tx
}

func TestOlderTokenIsRefusedEqualAndNewerPass(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		db := withTable(t, d)
		for _, token := range []fence.Token{7, 7, 9, 9} {
			if err := raise(t, db, "Job", token); err != nil {
				t.Fatalf("token %d: %v", token, err)
			}
		}
		var stale *fence.StaleError
		err := raise(t, db, "Job", 8)
		if !errors.Is(err, fence.ErrStale) || !errors.As(err, &stale) || *stale != (fence.StaleError{Name: "Job", Token: 8, Highest: 9}) {
			t.Fatalf("an older token: %v", err)
		}
		for _, other := range []string{"job", "Job ", "Jöb", "Job'; --", strings.Repeat("x", 512)} {
			if err := raise(t, db, other, 1); err != nil {
				t.Errorf("names are not apart: %.20q: %v", other, err)
			}
		}
	})
}

func TestKnownDialectNeedsNoQuestion(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		tx := begin(t, withTable(t, d), nil)
		if err := d.dialect.Raise(t.Context(), tx, "job", 5); err != nil {
			t.Fatal(err)
		}
		if err := d.dialect.Raise(t.Context(), tx, "job", 4); !errors.Is(err, fence.ErrStale) {
			t.Errorf("an older token in the same transaction: %v", err)
		}
	})
}

func TestTokenOfARolledBackTransactionDoesNotCount(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		db := withTable(t, d)
		tx := begin(t, db, nil)
		if err := fence.SQL(t.Context(), tx, "job", 9); err != nil {
			t.Fatal(err)
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		if err := raise(t, db, "job", 8); err != nil {
			t.Error(err)
		}
	})
}

func TestTransactionsOfOneNameFollowEachOther(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		db := withTable(t, d)
		const workers, rounds = 6, 15
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for range rounds {
					if err := add(t.Context(), db, "job", 3); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if n := count(t, db); n != workers*rounds {
			t.Errorf("lost updates: %d of %d", n, workers*rounds)
		}
	})
}

func TestNextHolderWaitsUntilTheTransactionEnds(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		db := withTable(t, d)
		if err := raise(t, db, "job", 1); err != nil {
			t.Fatal(err)
		}
		for _, token := range []fence.Token{1, 2} { // also one that changes nothing
			tx := begin(t, db, nil)
			if err := fence.SQL(t.Context(), tx, "job", token); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			if err := add(ctx, db, "job", 3); err == nil {
				t.Errorf("token 3 did not wait for %d", token)
			}
			cancel()
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		if err := add(t.Context(), db, "job", 3); err != nil {
			t.Error(err)
		}
	})
}

func TestOlderTokenThatWaitedForANewerOneIsRefused(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		db := withTable(t, d)
		tx := begin(t, db, nil)
		if err := fence.SQL(t.Context(), tx, "job", 6); err != nil {
			t.Fatal(err)
		}
		late := make(chan error, 1)
		go func() { late <- add(t.Context(), db, "job", 5) }()
		select {
		case err := <-late:
			t.Errorf("it did not wait: %v", err)
			late <- err
		case <-time.After(200 * time.Millisecond): // time for it to come; the promise does not depend on it
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := <-late; !errors.Is(err, fence.ErrStale) {
			t.Error(err)
		}
	})
}

func TestSnapshotDoesNotHideANewerToken(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		if d.dialect == fence.SQLite {
			t.Skip("it has one writer at a time")
		}
		db := withTable(t, d)
		if err := raise(t, db, "job", 7); err != nil {
			t.Fatal(err)
		}
		tx := begin(t, db, nil)
		if _, err := tx.Exec("SELECT n FROM counter"); err != nil {
			t.Fatal(err)
		}
		if err := raise(t, db, "job", 9); err != nil {
			t.Fatal(err)
		}
		if err := fence.SQL(t.Context(), tx, "job", 8); !errors.Is(err, fence.ErrStale) {
			t.Error(err)
		}
	})
}

func TestMissingTableSaysWhichIsNeeded(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		err := raise(t, open(t, d), "job", 1)
		if err == nil || !strings.Contains(err.Error(), d.dialect.Schema()) {
			t.Error(err)
		}
	})
}

func TestInvalidInputLeavesTheTransactionUsable(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		tx := begin(t, withTable(t, d), nil)
		if err := fence.SQL(t.Context(), tx, "job", 0); !errors.Is(err, fence.ErrInvalidToken) {
			t.Error(err)
		}
		if err := fence.SQL(t.Context(), tx, "", 1); err == nil {
			t.Error("empty name passes")
		}
		if err := fence.SQL(t.Context(), tx, "job", 1); err != nil {
			t.Error(err)
		}
	})
}

func TestSerializationFailureComesThrough(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		if d.dialect != fence.PostgreSQL {
			t.Skip("PostgreSQL's")
		}
		db := withTable(t, d)
		tx := begin(t, db, &sql.TxOptions{Isolation: sql.LevelSerializable})
		if _, err := tx.Exec("SELECT n FROM counter"); err != nil { // its snapshot
			t.Fatal(err)
		}
		if err := raise(t, db, "job", 5); err != nil {
			t.Fatal(err)
		}
		var failure *pgconn.PgError
		if err := fence.SQL(t.Context(), tx, "job", 6); !errors.As(err, &failure) || failure.Code != "40001" {
			t.Error(err)
		}
	})
}
