package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/report"
)

// writer is format, and the files besides. They are opened before the run, whose time would be lost.
func (f *benchFlags) writer(g *globals) (func(io.Writer, *bench.Result) error, error) {
	write := f.format(g)
	for _, other := range []struct {
		flag, path string
		format     func(io.Writer, *bench.Result) error
	}{{"--html", f.html, report.HTML}, {"--csv", f.csv, report.CSV}} {
		if other.path == "" {
			continue
		}
		file, err := os.OpenFile(other.path, os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, usageErrorf("%s: %w", other.flag, err)
		}
		before := write
		write = func(w io.Writer, r *bench.Result) error {
			err := file.Truncate(0)
			if err == nil {
				err = other.format(file, r)
			}
			return errors.Join(before(w, r), err, file.Close())
		}
	}
	if f.hgrm == "" {
		return write, nil
	}
	if err := os.MkdirAll(f.hgrm, 0o755); err != nil {
		return nil, usageErrorf("--hgrm: %w", err)
	}
	before := write
	return func(w io.Writer, r *bench.Result) error { return errors.Join(before(w, r), writeHgrm(f.hgrm, r)) }, nil
}

// writeHgrm writes a file for each cell and subject: 8-hold-10ms-fenceline.hgrm.
func writeHgrm(dir string, r *bench.Result) (err error) {
	for i := range r.Cells {
		for j := range r.Cells[i].Subjects {
			s := &r.Cells[i].Subjects[j]
			name := strings.NewReplacer(" ", "-", ",", "", "/", "-", "%", "pc", "×", "x").Replace(fmt.Sprintf("%v-%s", r.Cells[i].Cell, s.Subject))
			file, failed := os.Create(filepath.Join(dir, name+".hgrm"))
			if failed == nil {
				failed = errors.Join(s.WriteHgrm(file), file.Close())
			}
			err = errors.Join(err, failed)
		}
	}
	return err
}
