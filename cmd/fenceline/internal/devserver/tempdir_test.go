package devserver

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// left is a data directory as a server leaves it that was killed.
func left(t *testing.T, parent, name string) string {
	t.Helper()
	dir := filepath.Join(parent, tempPrefix+name)
	if err := os.MkdirAll(filepath.Dir(database(dir)), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(database(dir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestSweepLeavesWhatIsLockedInEitherWay(t *testing.T) {
	parent := t.TempDir()
	dead := left(t, parent, "dead")
	starts, runs := left(t, parent, "starts"), left(t, parent, "runs")
	lock, err := lockDir(starts) // and its etcd has not opened the database yet
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	db, err := os.Open(database(runs)) // of a server that locks no directory
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := syscall.Flock(int(db.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	sweep(parent)
	for dir, want := range map[string]bool{dead: false, starts: true, runs: true} {
		if _, err := os.Stat(database(dir)); (err == nil) != want {
			t.Errorf("%s: %v", filepath.Base(dir), err)
		}
	}
}
