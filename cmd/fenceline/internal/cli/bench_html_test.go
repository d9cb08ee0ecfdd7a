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
	code, stdout, stderr := fenceline("bench", "--endpoints", etcdtest.Shared(t).Endpoint(), "--contenders", "2,3", "--rounds", "1", "--duration", "300ms", "--html", path)
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

func TestBenchWritesRowsAndPercentiles(t *testing.T) {
	dir := t.TempDir()
	code, _, stderr := fenceline("bench", "--endpoints", etcdtest.Shared(t).Endpoint(), "--contenders", "2", "--hold", "1ms", "--rounds", "1", "--duration", "300ms",
		"--csv", filepath.Join(dir, "rows.csv"), "--hgrm", filepath.Join(dir, "hgrm"))
	rows, err := os.ReadFile(filepath.Join(dir, "rows.csv"))
	if code != 0 || err != nil || strings.Count(string(rows), "\n") != 5 {
		t.Errorf("code %d, %v: %s%s", code, err, rows, stderr)
	}
	for _, subject := range []string{"fenceline", "etcd"} {
		text, err := os.ReadFile(filepath.Join(dir, "hgrm", "2-hold-1ms-"+subject+".hgrm"))
		if err != nil || !strings.Contains(string(text), "Percentile") || !strings.Contains(string(text), "#[Mean") {
			t.Errorf("%v: %.300s", err, text)
		}
	}
}
