package fence_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"

	"github.com/fenceline/fenceline/fence"
)

// silent is a database that takes transactions, and fails the test at the first statement. What SQL does with real ones
// is tested in the module adapters.
type silent struct{ t *testing.T }

func (s silent) Connect(context.Context) (driver.Conn, error) { return s, nil }
func (s silent) Driver() driver.Driver                        { return nil }
func (s silent) Begin() (driver.Tx, error)                    { return s, nil }
func (s silent) Commit() error                                { return nil }
func (s silent) Rollback() error                              { return nil }
func (s silent) Close() error                                 { return nil }
func (s silent) Prepare(query string) (driver.Stmt, error) {
	s.t.Errorf("statement %q", query)
	return nil, errors.New("no statements here")
}

func TestInvalidInputIsRefusedBeforeAnyStatement(t *testing.T) {
	db := sql.OpenDB(silent{t})
	defer db.Close()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	for _, c := range []struct {
		name  string
		token fence.Token
		tx    *sql.Tx
		says  string
	}{
		{"job", 0, tx, "token 0: want a positive number"},
		{"job", -1, tx, "token -1: want a positive number"},
		{"", 1, tx, "name is empty"},
		{strings.Repeat("x", 513), 1, tx, "513 bytes, at most 512"},
		{"job", 1, nil, "transaction is nil"},
	} {
		for _, err := range []error{fence.SQL(t.Context(), c.tx, c.name, c.token), fence.MySQL.Raise(t.Context(), c.tx, c.name, c.token)} {
			if err == nil || !strings.Contains(err.Error(), c.says) || errors.Is(err, fence.ErrInvalidToken) != (c.token < 1) {
				t.Errorf("%v, want %q", err, c.says)
			}
		}
	}
	if err := fence.Dialect(0).Raise(t.Context(), tx, "job", 1); err == nil || !strings.Contains(err.Error(), "want PostgreSQL, MySQL or SQLite") {
		t.Error(err)
	}
}
