package etcdtest

import (
	"os"
	"slices"
	"testing"
)

// Backup returns a copy of the member's data as it is now. It stops the member for that, and starts it again.
func (m *Member) Backup(t testing.TB) (dir string) {
	t.Helper()
	dir = t.TempDir()
	m.Kill()
	copyDir(t, m.dataDir(t), dir)
	m.Restart(t)
	return dir
}

// Restore puts the member back to what it was at a Backup, as an operator does who has lost the data, and starts it:
// its revisions begin again where they were.
func (m *Member) Restore(t testing.TB, backup string) {
	t.Helper()
	m.Kill()
	data := m.dataDir(t)
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	copyDir(t, backup, data)
	m.Restart(t)
}

func (m *Member) dataDir(t testing.TB) string {
	t.Helper()
	i := slices.Index(m.args, "--data-dir")
	if i < 0 {
		t.Fatalf("etcdtest: %s has no data to keep", m.endpoint)
	}
	return m.args[i+1]
}

func copyDir(t testing.TB, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}
