package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

// benchProcess is a "fenceline bench" in a process of its own: it starts its etcd from its own executable.
type benchProcess struct {
	*exec.Cmd
	stdout bytes.Buffer
	stderr *bufio.Scanner
}

func startBench(t *testing.T, args ...string) *benchProcess {
	t.Helper()
	b := &benchProcess{Cmd: exec.CommandContext(t.Context(), etcdtest.Command(t), append([]string{"bench"}, args...)...)}
	b.Stdout = &b.stdout
	stderr, err := b.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	b.stderr = bufio.NewScanner(stderr)
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Process.Kill(); b.Wait() })
	return b
}

// until reads stderr to the line that begins so, and returns the rest of that line.
func (b *benchProcess) until(t *testing.T, begin string) string {
	t.Helper()
	for b.stderr.Scan() {
		if rest, found := strings.CutPrefix(b.stderr.Text(), begin); found {
			return rest
		}
	}
	t.Fatalf("no line %q on stderr", begin)
	return ""
}

// end reads the rest of stderr and returns the exit code.
func (b *benchProcess) end() int {
	for b.stderr.Scan() {
	}
	b.Wait()
	return b.ProcessState.ExitCode()
}

func (b *benchProcess) ownEtcd(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(strings.TrimSuffix(b.until(t, "Started an etcd at "), "."))
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

func refuses(address string) func() bool {
	return func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err != nil
	}
}

// withoutEndpoints makes bench start its own etcd, whatever the environment of the tests says.
func withoutEndpoints(t *testing.T) (tmp string) {
	t.Helper()
	for _, name := range []string{"FENCELINE_ENDPOINTS", "ETCDCTL_ENDPOINTS"} {
		t.Setenv(name, "")
	}
	etcdtest.Command(t) // is built before the place for temporary files changes
	tmp = t.TempDir()
	t.Setenv("TMPDIR", tmp)
	return tmp
}

func TestBenchStartsItsEtcdAndLeavesNothingOfIt(t *testing.T) {
	tmp := withoutEndpoints(t)
	b := startBench(t, "--contenders=1,2", "--rounds=1", "--duration=300ms", "-o=json")
	etcd := b.ownEtcd(t)
	if code := b.end(); code != 0 {
		t.Errorf("code %d", code)
	}
	var r bench.Result
	if err := json.Unmarshal(b.stdout.Bytes(), &r); err != nil {
		t.Fatalf("%v in %q", err, b.stdout.String())
	}
	if r.Schema != bench.Schema || len(r.Cells) != 2 || len(r.Cells[1].Subjects) != 2 || r.Cells[1].Subjects[0].Ratio == 0 || r.Environment.Etcd == "" {
		t.Errorf("got %+v", r)
	}
	if !refuses(etcd)() {
		t.Error("its etcd goes on")
	}
	if left, _ := os.ReadDir(tmp); len(left) > 0 {
		t.Errorf("files stay: %v", left)
	}
}

func TestEtcdOfAKilledBenchEnds(t *testing.T) {
	tmp := withoutEndpoints(t)
	b := startBench(t, "--duration=1m")
	etcd := b.ownEtcd(t)
	b.until(t, "Measuring")
	b.Process.Kill()
	etcdtest.Eventually(t, 10*time.Second, "its etcd ends", refuses(etcd))
	etcdtest.Eventually(t, 10*time.Second, "its files are gone", func() bool {
		left, err := os.ReadDir(tmp)
		return err == nil && len(left) == 0
	})
}

func TestInterruptedBenchReportsAndCleansUp(t *testing.T) {
	server := etcdtest.Start(t)
	cells := "1"
	for n := range 100 {
		cells += fmt.Sprintf(",%d", n+2)
	}
	b := startBench(t, "--endpoints="+server.Endpoint(), "--contenders="+cells, "--subjects=fenceline", "--rounds=1", "--duration=300ms", "--warm-up=0", "-o=json")
	b.until(t, "1 contender: ")
	b.Process.Signal(os.Interrupt)
	if code := b.end(); code != 128+int(syscall.SIGINT) {
		t.Errorf("code %d", code)
	}
	var r bench.Result
	if err := json.Unmarshal(b.stdout.Bytes(), &r); err != nil || !r.Interrupted || len(r.Cells) == 0 {
		t.Errorf("%v: %s", err, b.stdout.String())
	}
	client := server.Client(t)
	if keys, leases := etcdtest.Keys(t, client, ""), etcdtest.Leases(t, client); len(keys)+len(leases) > 0 {
		t.Errorf("stay in etcd: %q, leases %v", keys, leases)
	}
}
