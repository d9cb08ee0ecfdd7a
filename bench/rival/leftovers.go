package rival

import (
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const dirPrefix = "fenceline-rival-"

// aboutToBeLocked is how long a directory may be there without its lock.
const aboutToBeLocked = time.Minute

// sweep removes what runs have left that were killed. Their locks ended with them.
func sweep(parent string) {
	found, _ := filepath.Glob(filepath.Join(parent, dirPrefix+"*"))
	for _, dir := range found {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || time.Since(info.ModTime()) < aboutToBeLocked {
			continue
		}
		if lock, err := lockDir(dir); err == nil {
			_ = os.RemoveAll(dir) // what is another user's stays
			lock.Close()
		}
	}
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
