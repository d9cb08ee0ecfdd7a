package etcdtest

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Command returns the path of the fenceline command, built from this repository.
func Command(t testing.TB) string {
	t.Helper()
	path, err := command()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var command = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("FENCELINE_COMMAND"); path != "" {
		return path, nil
	}
	root, err := repository()
	if err != nil {
		return "", err
	}
	// The place is the same for all test binaries of one repository: who comes second finds it built.
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("fenceline-etcdtest-%d-%x", os.Getuid(), sha256.Sum256([]byte(root)))[:48])
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close() // and with it the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("etcdtest: lock %s: %w", lock.Name(), err)
	}
	path := filepath.Join(dir, "fenceline")
	build := exec.Command("go", "build", "-o", path, "./cmd/fenceline")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("etcdtest: go build ./cmd/fenceline: %w\n%s", err, out)
	}
	return path, nil
})

// repository returns the directory of go.work.
func repository() (string, error) {
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		return filepath.Join(filepath.Dir(file), "..", ".."), nil
	}
	// Built with -trimpath. Tests run in the directory of their package, which is inside the workspace.
	work, err := exec.Command("go", "env", "GOWORK").Output()
	if err != nil {
		return "", fmt.Errorf("etcdtest: cannot find the repository: go env GOWORK: %w", err)
	}
	path := strings.TrimSpace(string(work))
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("etcdtest: cannot find the repository: no go.work (go env GOWORK: %q)", path)
	}
	return filepath.Dir(path), nil
}
