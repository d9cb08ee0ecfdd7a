package devserver

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// checkDataDir creates dir if it is missing, and finds out now whether another server works in it: etcd would
// wait for that one without a word.
func checkDataDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return reason(err)
	}
	probe, err := os.CreateTemp(dir, ".writable-")
	if err != nil {
		return reason(err)
	}
	probe.Close()
	os.Remove(probe.Name())

	db, err := os.OpenFile(database(dir), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return reason(err)
	}
	defer db.Close() // and with it the lock
	if err := syscall.Flock(int(db.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errors.New("another etcd is using it")
	}
	return nil
}

// database is the file that a server has locked while it runs.
func database(dir string) string { return filepath.Join(dir, "member", "snap", "db") }

// reason is the error without the path, which the caller names.
func reason(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
