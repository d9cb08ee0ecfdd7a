package devserver

import (
	"os"
	"path/filepath"
	"syscall"
)

const tempPrefix = "fenceline-dev-"

// newTempDir makes a data directory, which is locked for as long as the file that it returns is open, and removes
// those that servers have left who were killed.
func newTempDir() (string, *os.File, error) {
	sweep(os.TempDir())
	dir, err := os.MkdirTemp("", tempPrefix)
	if err != nil {
		return "", nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		os.Remove(dir)
		return "", nil, err
	}
	return dir, lock, nil
}

// lockDir fails if somebody else has locked dir. A process that ends, however it ends, unlocks.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// sweep removes the directories of this user's dead servers. Locks tell who is dead, since the number of a process may
// be another's by now, or mean nothing in this container. A directory without a database may be one that is about to
// be locked, and is left alone.
func sweep(parent string) {
	found, _ := filepath.Glob(filepath.Join(parent, tempPrefix+"*"))
	for _, dir := range found {
		if ownDir(dir) && isDatabase(dir) {
			sweepOne(dir)
		}
	}
}

func sweepOne(dir string) {
	lock, err := lockDir(dir)
	if err != nil {
		return
	}
	defer lock.Close()
	if checkDataDir(dir) == nil { // nor has an etcd the database open
		os.RemoveAll(dir)
	}
}

func ownDir(dir string) bool {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Getuid()
}

func isDatabase(dir string) bool {
	_, err := os.Stat(database(dir))
	return err == nil
}
