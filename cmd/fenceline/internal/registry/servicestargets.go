package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/registry"
)

// encodeTargets writes what Prometheus reads.
func encodeTargets(w io.Writer, all map[string][]registry.Instance) error {
	groups := []registry.TargetGroup{}
	for _, service := range slices.Sorted(maps.Keys(all)) {
		for _, in := range all[service] {
			groups = append(groups, registry.TargetGroupOf(service, in))
		}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(groups)
}

// writeTargets puts the file in place of the one before, which Prometheus may be reading.
func writeTargets(path string, all map[string][]registry.Instance) error {
	var text bytes.Buffer
	if err := encodeTargets(&text, all); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // Prometheus reads no names like that
	if err != nil {
		return app.UsageErrorf("--file: %w", err)
	}
	mode := os.FileMode(0o644) // Prometheus is another user
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	_, err = f.Write(text.Bytes())
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the error says why
		return fmt.Errorf("--file: %w", err)
	}
	return nil
}

// serveTargets answers until ctx ends.
func (f *servicesFlags) serveTargets(ctx context.Context, client *clientv3.Client, say func(string, ...any)) error {
	listener, err := net.Listen("tcp", f.serve)
	if err != nil {
		return app.UsageErrorf("--serve: %w", err)
	}
	d, err := registry.OpenDirectory(ctx, client, registry.WithPrefix(f.prefix))
	if err != nil {
		_ = listener.Close() // nobody has connected; err says more
		return app.UnavailableErrorf("%w", err)
	}
	defer d.Close()
	server := &http.Server{Handler: targets(d, f.service), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	say("serving targets at http://%s/", listener.Addr())
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = server.Shutdown(ending) // who is still reading then has had a second
	return nil
}

// targets has all services under /, one under its name, and only that if only is given.
func targets(d *registry.Directory, only string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if err := d.Healthy(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		service := strings.TrimPrefix(r.URL.Path, "/")
		switch {
		case only != "" && service != "" && service != only, strings.Contains(service, "/"):
			http.NotFound(w, r)
			return
		case service == "":
			service = only
		}
		registry.PrometheusSD(d, service).ServeHTTP(w, r)
	})
	return mux
}
