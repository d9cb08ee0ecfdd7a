package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

const (
	anyPort  = "--listen=127.0.0.1:0"
	patience = 20 * time.Second // with one server, and with one request
)

// devProcess is a "fenceline dev" in a process of its own, which a test may signal.
type devProcess struct {
	cmd    *exec.Cmd
	stdout *bufio.Reader
	stderr bytes.Buffer
}

func startDev(t *testing.T, args ...string) *devProcess {
	t.Helper()
	d := &devProcess{cmd: exec.Command(etcdtest.Command(t), append([]string{"dev", anyPort}, args...)...)}
	d.cmd.Stderr = &d.stderr
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	d.stdout = bufio.NewReader(stdout)
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	enough := time.AfterFunc(patience, func() { d.cmd.Process.Kill() })
	t.Cleanup(func() {
		d.cmd.Process.Signal(syscall.SIGTERM) // and so its command
		d.cmd.Wait()
		enough.Stop()
	})
	return d
}

// line is the next line on stdout.
func (d *devProcess) line(t *testing.T) string {
	t.Helper()
	text, err := d.stdout.ReadString('\n')
	if err != nil {
		d.cmd.Wait()
		t.Fatalf("no line: %v, stderr %q", err, d.stderr.String())
	}
	return strings.TrimSuffix(text, "\n")
}

// end waits, and returns the exit code and what is left of stdout.
func (d *devProcess) end(t *testing.T) (code int, rest string) {
	t.Helper()
	text, err := io.ReadAll(d.stdout)
	if err != nil {
		t.Error(err)
	}
	err = d.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Error(err)
	}
	return d.cmd.ProcessState.ExitCode(), string(text)
}

func (d *devProcess) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := d.cmd.Process.Signal(sig); err != nil {
		t.Error(err)
	}
}

func connectTo(t *testing.T, endpoint string) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func withPatience(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func TestDevIsReadyWithinASecond(t *testing.T) {
	best := time.Hour
	for range 3 { // other tests have the processors at times
		start := time.Now()
		d := startDev(t)
		d.line(t)
		best = min(best, time.Since(start))
		d.signal(t, syscall.SIGTERM)
	}
	t.Logf("ready after %v", best)
	if best > time.Second {
		t.Errorf("ready after %v", best)
	}
}

func TestDevPrintsOnlyItsEndpointAndStopsWithoutATrace(t *testing.T) {
	etcdtest.Command(t) // is built once, and not where this test looks
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		tmp := t.TempDir()
		t.Setenv("TMPDIR", tmp)
		d := startDev(t)
		endpoint := d.line(t)
		if u, err := url.Parse(endpoint); err != nil || u.Scheme != "http" || u.Hostname() != "127.0.0.1" || u.Port() == "0" {
			t.Errorf("endpoint %q", endpoint)
		}
		client := connectTo(t, endpoint)
		watch := client.Watch(withPatience(t), "open", clientv3.WithCreatedNotify()) // which etcd would wait for
		<-watch
		d.signal(t, sig)
		stopped := time.Now()
		if code, rest := d.end(t); code != 0 || rest != "" {
			t.Errorf("%v: code %d, stdout %q", sig, code, rest)
		}
		if took := time.Since(stopped); took > 2*time.Second {
			t.Errorf("%v: stopped after %v", sig, took)
		}
		if left, _ := os.ReadDir(tmp); len(left) > 0 {
			t.Errorf("%v: left %v", sig, left)
		}
		if talk := d.stderr.String(); !strings.Contains(talk, "NOT for production") || strings.Count(talk, "\n") != 2 {
			t.Errorf("%v: said %q", sig, talk)
		}
	}
}

func TestDevRemovesWhatAKilledOneHasLeftAndNothingElse(t *testing.T) {
	etcdtest.Command(t)
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	dirs := func() []string {
		found, _ := filepath.Glob(filepath.Join(tmp, "fenceline-dev-*"))
		return found
	}
	lives := startDev(t)
	lives.line(t)
	kept := dirs()
	about := filepath.Join(tmp, "fenceline-dev-about-to-start")
	if err := os.Mkdir(about, 0o700); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(tmp, "fenceline-data", "member", "snap")
	if err := os.MkdirAll(other, 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(other, "db"), "")
	kept = append(kept, about)
	killed := startDev(t)
	killed.line(t)
	killed.signal(t, syscall.SIGKILL)
	killed.end(t)
	if len(dirs()) != len(kept)+1 {
		t.Fatalf("%q", dirs())
	}
	next := startDev(t)
	next.line(t)
	next.signal(t, syscall.SIGTERM)
	next.end(t)
	slices.Sort(kept)
	if !slices.Equal(dirs(), kept) {
		t.Errorf("there are %q, want %q", dirs(), kept)
	}
	if _, err := os.Stat(filepath.Join(other, "db")); err != nil {
		t.Error(err)
	}
}

func TestDevAdvertisesWhereItListens(t *testing.T) {
	d := startDev(t)
	endpoint := d.line(t)
	members, err := connectTo(t, endpoint).MemberList(withPatience(t))
	if err != nil {
		t.Fatal(err)
	}
	if urls := members.Members[0].ClientURLs; len(urls) != 1 || urls[0] != endpoint {
		t.Errorf("is at %s, advertises %q", endpoint, urls)
	}
}

func TestDevKeepsADataDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	for run := range 3 {
		d := startDev(t, "--data-dir", dir)
		client := connectTo(t, d.line(t))
		answer, err := client.Get(withPatience(t), "key")
		if err != nil {
			t.Fatal(err)
		}
		if found := len(answer.Kvs) == 1; found != (run > 0) {
			t.Errorf("run %d: key found: %v", run, found)
		}
		if _, err := client.Put(withPatience(t), "key", "value"); err != nil {
			t.Fatal(err)
		}
		client.Close()
		d.signal(t, syscall.SIGTERM)
		d.end(t)
	}
}

func TestDevThatCannotStartSaysWhyInOneLine(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, "")
	used := t.TempDir()
	startDev(t, "--data-dir", used).line(t)

	tests := []struct {
		args []string
		want string
	}{
		{[]string{"--listen", taken.Addr().String()}, "cannot listen on " + taken.Addr().String() + ": bind: address already in use"},
		{[]string{"--data-dir", file}, "data directory " + file + ": not a directory"},
		{[]string{"--data-dir", used}, "data directory " + used + ": another etcd is using it"},
	}
	for _, test := range tests {
		d := startDev(t, test.args...)
		code, stdout := d.end(t)
		if talk := d.stderr.String(); code != 69 || stdout != "" || !strings.Contains(talk, test.want) || strings.Count(talk, "\n") != 1 {
			t.Errorf("%q: code %d, stdout %q, stderr %q", test.args, code, stdout, talk)
		}
	}
}

func TestDevRunsACommandAndEndsWithIt(t *testing.T) {
	notExecutable := filepath.Join(t.TempDir(), "file")
	writeFile(t, notExecutable, "")
	tests := []struct {
		command []string
		code    int
		stdout  string
	}{
		{[]string{"true"}, 0, ""},
		{[]string{"--", "sh", "-c", "exit 7"}, 7, ""},
		{[]string{"sh", "-c", "kill -TERM $$"}, 128 + 15, ""},
		{[]string{"no-such-command"}, 127, ""},
		{[]string{"/no/such/command"}, 127, ""},
		{[]string{notExecutable}, 126, ""},
		{[]string{"sh", "-c", `test -n "$FENCELINE_ENDPOINTS" && test "$FENCELINE_ENDPOINTS" = "$ETCDCTL_ENDPOINTS" && echo same`}, 0, "same\n"},
		{[]string{"echo", "-n", "--listen"}, 0, "--listen"},
	}
	for _, test := range tests {
		d := startDev(t, test.command...)
		if code, stdout := d.end(t); code != test.code || stdout != test.stdout {
			t.Errorf("%q: code %d, stdout %q, stderr %q", test.command, code, stdout, d.stderr.String())
		}
	}
}

func TestDevGivesItsCommandAnEtcd(t *testing.T) {
	d := startDev(t, "sh", "-c", "echo $FENCELINE_ENDPOINTS; exec sleep 60")
	if _, err := connectTo(t, d.line(t)).Get(withPatience(t), "key"); err != nil {
		t.Error(err)
	}
}

func TestDevPassesSignalsOn(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1} {
		d := startDev(t, "sh", "-c", "trap 'exit 9' INT TERM HUP USR1; echo ready; i=0; while [ $i -lt 400 ]; do i=$((i+1)); sleep 0.05; done")
		d.line(t)
		d.signal(t, sig)
		if code, _ := d.end(t); code != 9 {
			t.Errorf("%v: code %d, stderr %q", sig, code, d.stderr.String())
		}
	}
}
