package cli

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

func TestFileForPrometheusIsKeptCurrent(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), serviceName(t)
	client, file := m.Client(t), filepath.Join(t.TempDir(), "targets.json")
	put := func(addr string) {
		if _, err := client.Put(t.Context(), "services/"+name+"/"+addr, "up"); err != nil {
			t.Fatal(err)
		}
	}
	content := func() string { text, _ := os.ReadFile(file); return string(text) }
	put("10.0.0.1:80")
	w := started(t, m.Endpoint(), "services", name, "--watch", "--file", file)
	etcdtest.Eventually(t, 10*time.Second, "the first", func() bool { return strings.Contains(content(), `"10.0.0.1:80"`) })
	put("10.0.0.2:80")
	etcdtest.Eventually(t, 10*time.Second, "the second", func() bool { return strings.Contains(content(), `"10.0.0.2:80"`) })
	w.signal(syscall.SIGTERM)
	w.exits(0)
	before := content()
	if code, _, _ := fenceline("services", name, "--file", file, "--endpoints", "127.0.0.1:1", "--dial-timeout", "0.2", "--command-timeout", "0.4"); code != 69 || content() != before {
		t.Errorf("code %d, while etcd is away the file is %q", code, content())
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".*")); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

func TestTargetsAreServedToPrometheus(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), serviceName(t)
	if _, err := m.Client(t).Put(t.Context(), "services/"+name+"/10.0.0.1:80", "up"); err != nil {
		t.Fatal(err)
	}
	w := started(t, m.Endpoint(), "services", "--serve", "127.0.0.1:0")
	where := ""
	etcdtest.Eventually(t, 10*time.Second, "a word", func() bool {
		where = regexp.MustCompile("http://[0-9.:]+").FindString(w.stderr())
		return where != ""
	})
	for path, want := range map[string]string{"/": `"10.0.0.1:80"`, "/" + name: `"10.0.0.1:80"`, "/nobody": "[]", "/healthz": "ok"} {
		resp, err := http.Get(where + path)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 || !strings.Contains(string(text), want) {
			t.Errorf("%s: %d, %s", path, resp.StatusCode, text)
		}
	}
	w.signal(syscall.SIGTERM)
	w.exits(0)
	for args, says := range map[string]string{
		"--serve 127.0.0.1:0 --watch": "it is instead of --watch",
		"--serve 127.0.0.1:0 -o json": "for Prometheus",
		"--watch -o prometheus-sd":    "--file writes it anew",
	} {
		if code, _, stderr := fenceline(append([]string{"services"}, strings.Fields(args)...)...); code != 64 || !strings.Contains(stderr, says) {
			t.Errorf("%s: code %d, %s", args, code, stderr)
		}
	}
}
