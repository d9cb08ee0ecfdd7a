package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

func TestBenchWritesAPageBesideTheReport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.html")
	writeFile(t, path, strings.Repeat("old", 1_000_000))
	code, stdout, stderr := fenceline("bench", "--endpoints", etcdtest.Shared(t).Endpoint(), "--contenders", "2,3", "--rounds", "1", "--duration", "200ms", "--html", path)
	page, err := os.ReadFile(path)
	if code != 0 || err != nil || !strings.Contains(stdout, "contenders") {
		t.Fatalf("code %d, %v: %s%s", code, err, stdout, stderr)
	}
	if text := string(page); !strings.HasPrefix(text, "<!doctype html>") || !strings.HasSuffix(text, "</html>\n") || !strings.Contains(text, "contenders: 3<") || !strings.Contains(text, "<rect") {
		t.Errorf("%.300s", text)
	}
}

func TestBenchSaysBeforeItMeasuresThatThePageCannotBeWritten(t *testing.T) {
	code, stdout, stderr := fenceline("bench", "--endpoints", "127.0.0.1:1", "--html", t.TempDir())
	if code != 64 || stdout != "" || !strings.Contains(stderr, "--html: ") {
		t.Errorf("code %d: %s%s", code, stdout, stderr)
	}
}
