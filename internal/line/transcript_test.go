package line

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the transcripts anew")

// TestTranscripts runs the stories of testdata: what happens, on lines that begin with ">", and below each what the machine does about it, and
// how it stands then. A story that has changed on purpose is written anew by -update, and read.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			s := &story{t: t, out: &got}
			for _, line := range strings.Split(strings.TrimSuffix(string(want), "\n"), "\n") {
				switch command, ok := strings.CutPrefix(line, "> "); {
				case ok:
					fmt.Fprintln(&got, line)
					s.run(strings.Fields(command))
				case line == "" || line[0] == '#':
					fmt.Fprintln(&got, line)
				}
			}
			if *update {
				if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got.String() != string(want) {
				t.Errorf("%s differs from what happens now (-update writes it anew):\n%s", file, diff(string(want), got.String()))
			}
		})
	}
}

// diff shows the first lines that differ.
func diff(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return fmt.Sprintf("line %d\n- %s\n+ %s", i+1, w[i], g[i])
		}
	}
	return fmt.Sprintf("%d lines, and now %d", len(w), len(g))
}
