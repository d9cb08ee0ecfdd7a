package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// fileSchema names the form of the file.
const fileSchema = "fenceline.directory/v1"

type fileForm struct {
	Schema   string                `json:"schema"`
	Written  time.Time             `json:"written"`
	Prefix   string                `json:"prefix"`
	Services map[string][]Instance `json:"services"`
}

// restore shows what the file has, as stale. There may be no file yet.
func (d *Directory) restore() error {
	if d.opts.file == "" {
		return nil
	}
	form, err := readFile(d.opts.file, d.opts.reads())
	if err != nil {
		d.opts.log.Warn("snapshot not read", "error", err)
		return err
	}
	shown := map[string]*listing{}
	for service, ins := range form.Services {
		ms := &members{}
		for _, in := range sorted(ins) {
			in, err := in.checked() // somebody may have written the file by hand
			if err != nil {
				d.opts.log.Warn("entry of the snapshot kept out", "service", service, "error", err)
				continue
			}
			ms.set(&member{entry: &Entry{in, true}, stale: true})
		}
		d.services[service] = ms
		shown[service] = newListing(ms.entries(), d.opts.zone)
	}
	d.shown.Store(&shown)
	return nil
}

// checkFile says why the file cannot be written, or must not: it is something else.
func (o *options) checkFile() error {
	if o.file == "" {
		return nil
	}
	if _, err := readFile(o.file, o.reads()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(o.file), filepath.Base(o.file)+".*")
	if err != nil {
		return fmt.Errorf("snapshot %s cannot be written: %w", o.file, err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func readFile(path, prefix string) (form fileForm, err error) {
	text, err := os.ReadFile(path)
	if err == nil && len(text) == 0 {
		err = fs.ErrNotExist
	}
	if err == nil {
		err = json.Unmarshal(text, &form)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return form, fmt.Errorf("no snapshot: %w", err)
	case err != nil:
		return form, fmt.Errorf("snapshot %s: %w", path, err)
	case form.Schema != fileSchema:
		return form, fmt.Errorf("snapshot %s: its schema is %q, want %q", path, form.Schema, fileSchema)
	case form.Prefix != prefix:
		return form, fmt.Errorf("snapshot %s: it is of %q, not of %q", path, form.Prefix, prefix)
	}
	return form, nil
}

// save writes the file, if there is anything new. Readers see the old one or the new one.
func (d *Directory) save() bool {
	d.mu.Lock()
	due := d.dirty && d.heard && d.fed && d.opts.file != ""
	if due {
		d.dirty = false
	}
	d.mu.Unlock()
	if !due {
		return false
	}
	form := fileForm{fileSchema, time.Now().UTC(), d.opts.reads(), map[string][]Instance{}}
	for service, l := range *d.shown.Load() {
		for _, e := range l.entries {
			form.Services[service] = append(form.Services[service], e.Instance)
		}
	}
	if err := writeFile(d.opts.file, form); err != nil {
		d.opts.log.Warn("snapshot not written", "error", err)
	}
	return true
}

func writeFile(path string, form fileForm) error {
	text, err := json.Marshal(form)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	if info, err := os.Stat(path); err == nil { // those who may read the old one may read the new one
		_ = f.Chmod(info.Mode().Perm())
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // it is of no use; the error says why
	}
	return err
}
