package rival

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestDirectoriesOfKilledRunsAreRemovedByTheNext(t *testing.T) {
	parent := t.TempDir()
	make := func(name string, age time.Duration) string {
		dir := filepath.Join(parent, dirPrefix+name)
		if err := os.MkdirAll(filepath.Join(dir, "data"), 0o755); err != nil {
			t.Fatal(err)
		}
		then := time.Now().Add(-age)
		if err := os.Chtimes(dir, then, then); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	killed, fresh, alive := make("killed", time.Hour), make("fresh", 0), make("alive", time.Hour)
	lock, err := lockDir(alive)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	sweep(parent)
	for dir, stays := range map[string]bool{killed: false, fresh: true, alive: true} {
		if _, err := os.Stat(dir); (err == nil) != stays {
			t.Errorf("%s: %v", dir, err)
		}
	}
}
