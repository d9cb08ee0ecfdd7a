package bench

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/report"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
)

// reportFile is a file that gets a report besides stdout.
type reportFile struct {
	flag, path string
	format     func(io.Writer, *bench.Result) error
	file       *os.File
	made       bool // by us
}

func (f *reportFile) open() (err error) {
	_, missing := os.Stat(f.path)
	f.made = errors.Is(missing, os.ErrNotExist)
	f.file, err = os.OpenFile(f.path, os.O_CREATE|os.O_WRONLY, 0o644)
	return err
}

func (f *reportFile) write(r *bench.Result) error {
	info, err := f.file.Stat()
	if err == nil && info.Mode().IsRegular() { // a pipe cannot be cut
		err = f.file.Truncate(0)
	}
	if err == nil {
		err = f.format(f.file, r)
	}
	if err = errors.Join(err, f.file.Close()); err != nil {
		return fmt.Errorf("%s: %w", f.flag, err)
	}
	f.made = false
	return nil
}

// discard leaves no file that we have made and that says nothing.
func (f *reportFile) discard() {
	f.file.Close()
	if f.made {
		os.Remove(f.path)
	}
}

// writer is format, and the files besides. They are opened before the run, whose time would be lost. discard is for a run
// without a result, and does nothing after write.
func (f *Flags) writer(g *app.Globals, changed func(string) bool) (write func(io.Writer, *bench.Result) error, discard func(), err error) {
	files := []*reportFile{{flag: "--html", path: f.html, format: report.HTML}, {flag: "--csv", path: f.csv, format: report.CSV}}
	for _, named := range append([]*reportFile{{flag: "--hgrm", path: f.hgrm}}, files...) {
		switch {
		case !changed(strings.TrimPrefix(named.flag, "--")):
		case named.path == "":
			return nil, nil, app.UsageErrorf("%s is empty: it must name a file or directory", named.flag)
		case named.path == "-":
			return nil, nil, app.UsageErrorf("%s -: stdout has the report, want a file", named.flag)
		}
	}
	if f.html != "" && filepath.Clean(f.html) == filepath.Clean(f.csv) {
		return nil, nil, app.UsageErrorf("--html and --csv are both %s: want two files", f.csv)
	}
	files = slices.DeleteFunc(files, func(r *reportFile) bool { return r.path == "" })
	discard = func() {
		for _, r := range files {
			if r.file != nil {
				r.discard()
			}
		}
	}
	for _, r := range files {
		if err := r.open(); err != nil {
			discard()
			return nil, nil, app.UsageErrorf("%s: %w", r.flag, err)
		}
	}
	if f.hgrm != "" {
		if err := os.MkdirAll(f.hgrm, 0o755); err != nil {
			discard()
			return nil, nil, app.UsageErrorf("--hgrm: %w", err)
		}
	}
	toStdout := f.format(g)
	return func(w io.Writer, r *bench.Result) error {
		err := toStdout(w, r)
		for _, file := range files {
			err = errors.Join(err, file.write(r))
		}
		if f.hgrm == "" {
			return err
		}
		return errors.Join(err, writeHgrm(f.hgrm, r))
	}, discard, nil
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
			if failed != nil {
				err = errors.Join(err, fmt.Errorf("--hgrm: %w", failed))
			}
		}
	}
	return err
}
