// Package discovery_test runs the service and the client as processes, as a user would.
package discovery_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

// program is one of the two, running.
type program struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string // of its output
}

func start(t *testing.T, m *etcdtest.Member, path string, args ...string) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.Command(path, args...), lines: make(chan string, 10_000)}
	p.cmd.Env = append(os.Environ(), "FENCELINE_ENDPOINTS="+m.Endpoint())
	p.cmd.Stderr = os.Stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(p.lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(func() { p.cmd.Process.Kill(); <-read; p.cmd.Wait() })
	return p
}

// until waits for a line that begins so, and answers the rest of it. unless is what must not come before.
func (p *program) until(prefix, unless string) string {
	p.t.Helper()
	late := time.After(20 * time.Second)
	for {
		select {
		case line, ok := <-p.lines:
			if rest, found := strings.CutPrefix(line, prefix); found {
				return rest
			}
			if !ok || unless != "" && strings.HasPrefix(line, unless) {
				p.t.Fatalf("%q, before %q", line, prefix)
			}
		case <-late:
			p.t.Fatalf("no line with %q", prefix)
		}
	}
}

func TestClientFindsServicesAsTheyComeAndGo(t *testing.T) {
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", bin, "./service", "./client").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	m := etcdtest.Start(t)
	serve := func() (*program, string) {
		p := start(t, m, filepath.Join(bin, "service"))
		return p, p.until("registered at ", "")
	}
	a, atA := serve()
	client := start(t, m, filepath.Join(bin, "client"), "-every", "5ms")
	client.until("hello from "+atA, "failed")
	b, atB := serve()
	client.until("hello from "+atB, "failed")
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil { // drains: no call fails
		t.Fatal(err)
	}
	for range a.lines {
	}
	_, atC := serve()
	client.until("hello from "+atC, "failed")
	if err := b.cmd.Process.Kill(); err != nil { // dies: it refuses connections, and is passed over
		t.Fatal(err)
	}
	for range 50 {
		client.until("hello from "+atC, "")
	}
}
