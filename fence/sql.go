package fence

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// maxName is what a lock's name may have at most, in bytes, and what the key of every dialect holds.
const maxName = 512

// SQL raises the stored token of name to t, within tx, or returns ErrStale, as *StaleError, if a larger one is stored.
// The writes that t protects follow in the same tx:
//
//	tx, err := db.BeginTx(ctx, nil)
//	…
//	defer tx.Rollback()
//	if err := fence.SQL(ctx, tx, "account 7", l.Token()); err != nil {
//		return err // errors.Is(err, fence.ErrStale): another holder has taken over
//	}
//	_, err = tx.ExecContext(ctx, "UPDATE …")
//	…
//	return tx.Commit()
//
// The token's row stays locked until tx ends, so that transactions of one name follow each other; a holder that is
// stopped in the middle of one keeps the next waiting for as long as the database lets a transaction idle. Tokens equal
// to the stored one pass: a holder writes as often as it likes. A token counts only once tx commits. Let SQL be the
// first statement of tx: under snapshot isolation, what was read before it may be from before the lock.
//
// The table has to be there, see Dialect.Schema. The database is told by a question that PostgreSQL, MySQL (with
// MariaDB) and SQLite all understand and answer differently, because a transaction in PostgreSQL is lost with the first
// statement that fails. That is one round trip more than Dialect.Raise, for programs that know their database.
//
// A token below 1 is ErrInvalidToken; a name that is empty or over 512 bytes, and a nil tx, are errors as well, all before
// any statement. The database's own errors come wrapped: after serialization failures, deadlocks and SQLITE_BUSY the
// caller runs the whole transaction again. After any error, ErrStale too, roll back. When ctx ends database/sql does.
func SQL(ctx context.Context, tx *sql.Tx, name string, t Token) error {
	if err := checkSQL(tx, name, t); err != nil {
		return err
	}
	var d Dialect
	if err := tx.QueryRowContext(ctx, whichDialect).Scan(&d); err != nil {
		return fmt.Errorf("fence: %q: ask for the dialect of SQL: %w", name, err)
	}
	return d.Raise(ctx, tx, name, t)
}

// What /*! encloses is a comment to all but MySQL and MariaDB. A text compared with a number is converted by PostgreSQL
// and always unequal in SQLite. It reads no table, which would begin MySQL's snapshot before the row is locked.
const whichDialect = `SELECT CASE WHEN '1' = 1 THEN 1 ELSE 3 END /*! + 1 */`

// Dialect is a kind of database that SQL can talk to.
type Dialect int

// The numbers are those that whichDialect returns.
const (
	PostgreSQL Dialect = 1
	MySQL      Dialect = 2 // and MariaDB
	SQLite     Dialect = 3 // 3.35 and later
)

// String is the name of the database.
func (d Dialect) String() string {
	switch d {
	case PostgreSQL:
		return "PostgreSQL"
	case MySQL:
		return "MySQL"
	case SQLite:
		return "SQLite"
	}
	return fmt.Sprintf("Dialect(%d)", int(d))
}

// Schema is the statement that creates the table, if it is not there; "" for a Dialect that is none of the three. In
// MySQL it commits the transaction it is run in, as all of its kind. The names are compared byte by byte everywhere,
// hence the type in MySQL.
func (d Dialect) Schema() string {
	switch d {
	case PostgreSQL:
		return "CREATE TABLE IF NOT EXISTS fence (name TEXT PRIMARY KEY, token BIGINT NOT NULL)"
	case MySQL:
		return "CREATE TABLE IF NOT EXISTS fence (name VARBINARY(512) PRIMARY KEY, token BIGINT NOT NULL) ENGINE = InnoDB"
	case SQLite:
		return "CREATE TABLE IF NOT EXISTS fence (name TEXT NOT NULL PRIMARY KEY, token BIGINT NOT NULL)"
	}
	return ""
}

// Raise is SQL for a database that is known: one round trip, two in MySQL.
func (d Dialect) Raise(ctx context.Context, tx *sql.Tx, name string, t Token) error {
	if err := checkSQL(tx, name, t); err != nil {
		return err
	}
	highest, err := d.raise(ctx, tx, name, t)
	if err != nil {
		return d.explain(name, err)
	}
	if t < highest {
		return &StaleError{name, t, highest}
	}
	return nil
}

// raise locks the row and returns what it holds from then on. The row is written also when it does not change: that is
// what locks it.
func (d Dialect) raise(ctx context.Context, tx *sql.Tx, name string, t Token) (highest Token, err error) {
	switch d {
	case PostgreSQL:
		err = tx.QueryRowContext(ctx, `INSERT INTO fence AS f (name, token) VALUES ($1, $2)
			ON CONFLICT (name) DO UPDATE SET token = GREATEST(f.token, EXCLUDED.token) RETURNING token`,
			name, int64(t)).Scan(&highest)
	case SQLite:
		err = tx.QueryRowContext(ctx, `INSERT INTO fence (name, token) VALUES (?, ?)
			ON CONFLICT (name) DO UPDATE SET token = max(token, excluded.token) RETURNING token`,
			name, int64(t)).Scan(&highest)
	case MySQL:
		// The count of affected rows does not tell an equal token from a stale one, nor means the same with every
		// setting of the driver. A plain SELECT would read the transaction's snapshot, a locking one reads what is there.
		_, err = tx.ExecContext(ctx, `INSERT INTO fence (name, token) VALUES (?, ?)
			ON DUPLICATE KEY UPDATE token = GREATEST(token, ?)`, name, int64(t), int64(t))
		if err == nil {
			err = tx.QueryRowContext(ctx, `SELECT token FROM fence WHERE name = ? FOR UPDATE`, name).Scan(&highest)
		}
	default:
		err = fmt.Errorf("%v: want PostgreSQL, MySQL or SQLite", d)
	}
	return highest, err
}

func checkSQL(tx *sql.Tx, name string, t Token) error {
	switch {
	case t <= 0:
		return fmt.Errorf("%w: %q: token %d: want a positive number", ErrInvalidToken, name, t)
	case name == "":
		return errors.New("fence: the name is empty")
	case len(name) > maxName:
		return fmt.Errorf("fence: the name %.64q… has %d bytes, at most %d are allowed", name, len(name), maxName)
	case tx == nil:
		return fmt.Errorf("fence: %q: the transaction is nil", name)
	}
	return nil
}

// explain adds what to do about a missing table. The drivers' errors have no type in common: what they share is the
// standard's code, or the database's own words.
func (d Dialect) explain(name string, err error) error {
	text := err.Error()
	var coded interface{ SQLState() string } // PostgreSQL's drivers
	if errors.As(err, &coded) {
		text = coded.SQLState()
	}
	for _, missing := range []string{"42P01", "42S02", "Error 1146", "no such table"} {
		if strings.Contains(text, missing) {
			return fmt.Errorf("fence: %q: the table is missing (%s): %w", name, d.Schema(), err)
		}
	}
	return fmt.Errorf("fence: %q: raise the token in the table fence of %v: %w", name, d, err)
}
