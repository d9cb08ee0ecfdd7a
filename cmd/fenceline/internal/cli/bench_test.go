package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/idle"
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
	cells := strings.Repeat("1,", 100) + "1"
	b := startBench(t, "--endpoints="+server.Endpoint(), "--contenders="+cells, "--subjects=fenceline", "--rounds=1", "--duration=100ms", "--warm-up=0", "-o=json")
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

func TestBenchRefusesBadSettingsBeforeItStartsAnything(t *testing.T) {
	for args, want := range map[string]string{
		"--contenders 0":     "contenders is 0",
		"--contenders 2,-1":  "contenders is -1",
		"--goroutines 0":     "goroutines is 0",
		"--hold -1s":         "hold is -1s",
		"--duration 0":       "duration is 0s",
		"--rounds 0":         "rounds is 0",
		"--ttl 1s":           "ttl is 1s",
		"--subjects zk":      `subject is "zk"`,
		"--subjects ,":       `subject is ""`,
		"--bench -o json":    "--bench and -o json",
		"10":                 `"10"`,
		"idle --locks 0":     "locks is 0",
		"idle --ttl 5s,2.5s": "ttl is 2.5s",
		"idle --windows 0":   "windows is 0",
	} {
		var stdout, stderr bytes.Buffer
		code := Main(append([]string{"bench"}, strings.Fields(args)...), strings.NewReader(""), &stdout, &stderr)
		if code != 64 || stdout.Len() > 0 || !strings.Contains(stderr.String(), want) {
			t.Errorf("bench %s: code %d, stdout %q, stderr %q", args, code, stdout.String(), stderr.String())
		}
	}
}

func TestBenchWithoutItsClusterIs69(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, etcdtest.Command(t), "bench", "--endpoints=127.0.0.1:1").CombinedOutput()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 69 || !strings.Contains(string(out), "127.0.0.1:1") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestBenchIdleCountsRenewals(t *testing.T) {
	var stdout, stderr bytes.Buffer
	server := etcdtest.Start(t)
	args := []string{"bench", "idle", "--endpoints", server.Endpoint(), "--locks=3", "--ttl=2s", "-o=json"}
	if code := Main(args, strings.NewReader(""), &stdout, &stderr); code != 0 {
		t.Fatalf("code %d: %s", code, stderr.String())
	}
	var r idle.Result
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil || len(r.Rows) != 1 {
		t.Fatalf("%v: %s", err, stdout.String())
	}
	held := r.Rows[0].Held
	if n := held.Traffic.Renewals; n < 2 || n > 4 || held.Traffic.Requests() != n {
		t.Errorf("traffic of held locks in one TTL: %+v, want 3 renewals", held.Traffic)
	}
	client := server.Client(t)
	if keys, leases := etcdtest.Keys(t, client, ""), etcdtest.Leases(t, client); len(keys)+len(leases) > 0 {
		t.Errorf("stay in etcd: %q, leases %v", keys, leases)
	}
}
