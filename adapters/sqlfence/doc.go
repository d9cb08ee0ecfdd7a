// Package sqlfence tests fence.SQL on PostgreSQL, on MariaDB for MySQL, and on SQLite, through the drivers that programs
// use: pgx, go-sql-driver/mysql and modernc.org/sqlite. MySQL itself has not been tried; Debian has no server of it.
package sqlfence
