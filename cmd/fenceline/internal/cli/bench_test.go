package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/idle"
	"github.com/fenceline/fenceline/bench/takeover"
	"github.com/fenceline/fenceline/bench/workload"
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

func TestBenchRefusesBadSettingsBeforeItStartsAnything(t *testing.T) {
	for args, want := range map[string]string{
		"--contenders 0":                      "contenders is 0",
		"--contenders 2,-1":                   "contenders is -1",
		"--goroutines 0":                      "goroutines is 0",
		"--hold -1s":                          "hold is -1s",
		"--duration 0":                        "duration is 0s",
		"--rounds 0":                          "rounds is 0",
		"--ttl 1s":                            "ttl is 1s",
		"--subjects zk":                       `subject is "zk"`,
		"--subjects ,":                        `subject is ""`,
		"--bench -o json":                     "--bench and -o json",
		"10":                                  `"10"`,
		"rw --readers 101":                    "readers is 101, want a percentage from 0 to 100",
		"rw --readers 50,-1":                  "readers is -1, want a percentage from 0 to 100",
		"rw --readers half":                   `"half"`,
		"rw --contenders 0":                   "contenders is 0",
		"rw --subjects zk":                    `subject is "zk"`,
		"rw --fenced":                         "--fenced",
		"all --names 0":                       "names is 0, want 1 to 1000",
		"all --take 7":                        "take is 7, want 1 to 6, the number of names",
		"all --take 0":                        "take is 0, want 1 to 6, the number of names",
		"all 4":                               `"4"`,
		"idle --locks 0":                      "locks is 0",
		"idle --ttl 5s,2.5s":                  "ttl is 2.5s",
		"idle --windows 0":                    "windows is 0",
		"elect --contenders 0":                "contenders is 0",
		"elect --kills -1":                    "kills is -1",
		"elect --members 3 --etcd-kills -1":   "etcd-kills is -1",
		"elect --etcd-kills 1":                "--etcd-kills 1: kills members of a cluster that it has started, with --members 3",
		"elect --kill-ttl 2s,1s":              "ttl for kills is 1s",
		"elect --subjects zk":                 `subject is "zk"`,
		"elect --subjects etcd,etcd":          "subject etcd is there twice",
		"elect 3":                             `"3"`,
		"barrier --contenders 0":              "contenders is 0",
		"barrier --rate 5":                    "rate is set for barrier",
		"barrier --kills 3":                   "--kills",
		"--members 2":                         "--members 2: want 1 or 3",
		"--members 3 --endpoints a:1":         "not with --endpoints",
		"--noise -1":                          "noise is -1",
		"--compact -1s":                       "compact is -1s",
		"--delay 11s":                         "delay is 11s",
		"--rivals all":                        `--rivals "all": it is neither none nor auto`,
		"rw --rivals auto":                    "--rivals",
		"--rate -1":                           "rate is -1",
		"registry --watchers 0":               "watchers is 0, want at least 1",
		"registry --watchers 1001":            "watchers is 1001, want at most 1000",
		"registry --services 5 --instances 4": "services is 5, want at most as many as instances, 4",
		"registry --kills -1":                 "kills is -1",
		"registry --kill-ttl 1s":              "kill-ttl is 1s",
		"registry --subjects zk":              `subject is "zk"`,
		"elect --members 3 --etcd-kills 1 --endpoints 127.0.0.1:1": "not with --endpoints",
	} {
		var stdout, stderr bytes.Buffer
		code := Main(append([]string{"bench"}, strings.Fields(args)...), strings.NewReader(""), &stdout, &stderr)
		if code != 64 || stdout.Len() > 0 || !strings.Contains(stderr.String(), want) {
			t.Errorf("bench %s: code %d, stdout %q, stderr %q", args, code, stdout.String(), stderr.String())
		}
	}
}

func TestBenchHelpListsItsWorkloads(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := Main([]string{"bench", "--help"}, strings.NewReader(""), &stdout, &stderr); code != 0 {
		t.Errorf("code %d", code)
	}
	for _, w := range workload.All()[1:] {
		if !strings.Contains(stdout.String(), "\n  "+w.Name+" ") || !strings.Contains(stdout.String(), w.Short) {
			t.Errorf("%s is not in\n%s", w.Name, stdout.String())
		}
	}
}

// benchJSON measures against a server that is there, for as short as it can.
func benchJSON(t *testing.T, args ...string) *bench.Result {
	t.Helper()
	args = append(append([]string{"bench"}, args...), "--endpoints", etcdtest.Shared(t).Endpoint(),
		"--rounds=1", "--duration=300ms", "--warm-up=0", "-o=json")
	var stdout, stderr bytes.Buffer
	if code := Main(args, strings.NewReader(""), &stdout, &stderr); code != 0 {
		t.Fatalf("%q: code %d: %s", args, code, stderr.String())
	}
	var r bench.Result
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	return &r
}

func TestBenchRWSplitsReadsAndWritesForEachShare(t *testing.T) {
	r := benchJSON(t, "rw", "--subjects=local,fenceline", "--kills=0")
	var settings []any
	for _, c := range r.Cells {
		settings = append(settings, c.Setting.(map[string]any)["readers_percent"])
		for _, s := range c.Subjects {
			if len(s.Modes) != 2 || s.Modes[0].Mode != "read" || s.Modes[1].Mode != "write" || s.Ratio == 0 || c.Contenders != 8 {
				t.Errorf("cell %v: %+v", c.Cell, s)
			}
		}
	}
	if want := []any{0.0, 50.0, 90.0, 99.0}; !slices.Equal(settings, want) {
		t.Errorf("shares of readers %v, want %v", settings, want)
	}
}

func TestBenchAllTakesSetsOfNames(t *testing.T) {
	r := benchJSON(t, "all", "--subjects=fenceline,local", "--names=3", "--take=2", "--contenders=1,2")
	if len(r.Cells) != 2 || r.Cells[0].Workload != "all" || r.Cells[1].Contenders != 2 {
		t.Fatalf("got %+v", r.Cells)
	}
	if setting := r.Cells[0].Setting.(map[string]any); setting["names"] != 3.0 || setting["take"] != 2.0 {
		t.Errorf("got %v", setting)
	}
	if got := r.Cells[0].Subjects[0]; got.Acquisitions == 0 || got.Ratio == 0 {
		t.Errorf("got %+v", got)
	}
}

func TestBenchOfALockThatDoesNotExcludeIs1(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(&signalError{syscall.SIGINT}) // it is also being interrupted: that must not hide it
	if code := exitCode(benchError(ctx, &bench.SafetyError{Subject: "x"})); code != 1 {
		t.Errorf("code %d", code)
	}
}

func TestBenchWithoutItsClusterIs69(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, etcdtest.Command(t), "bench", "--endpoints=127.0.0.1:1").CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 69 || !strings.Contains(string(out), "127.0.0.1:1") {
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

// find answers the rows of a measure, by subject.
func find(r *bench.Result, measure string) map[string]bench.Row {
	rows := map[string]bench.Row{}
	for _, row := range r.Probes {
		if row.Measure == measure {
			rows[row.Subject] = row
		}
	}
	return rows
}

func TestBenchKillsProcessesOfItsOwnExecutable(t *testing.T) {
	tmp := withoutEndpoints(t)
	t.Setenv("FENCELINE_CACERT", "/nonexistent") // is for clusters that are named
	b := startBench(t, "elect", "--contenders=2", "--rounds=1", "--duration=300ms", "--kills=2", "--kill-ttl=2s", "-o=json")
	etcd := b.ownEtcd(t)
	if code := b.end(); code != 0 {
		t.Errorf("code %d", code)
	}
	var r bench.Result
	if err := json.Unmarshal(b.stdout.Bytes(), &r); err != nil {
		t.Fatalf("%v in %q", err, b.stdout.String())
	}
	killed := find(&r, takeover.Killed)
	if len(killed) != 2 || killed["fenceline"].Count != 2 || killed["etcd"].Median < time.Second || len(r.Cells) != 1 || r.Cells[0].Workload != "elect" {
		t.Errorf("got %+v", r)
	}
	if !refuses(etcd)() {
		t.Error("its etcd goes on")
	}
	if left, _ := os.ReadDir(tmp); len(left) > 0 {
		t.Errorf("files stay: %v", left)
	}
}

func TestBenchReachesItsClusterWithTLSAlsoForItsProcesses(t *testing.T) {
	server := etcdtest.Start(t, etcdtest.WithTLS())
	b := startBench(t, "--endpoints="+server.Endpoint(), "--cacert="+server.CACert(), "--contenders=2", "--rounds=1", "--duration=300ms", "--kills=1", "--kill-ttl=2s")
	if code := b.end(); code != 0 {
		t.Errorf("code %d", code)
	}
	for _, want := range []string{takeover.Killed, "TTL 2s", "fenceline", "etcd", "a put"} {
		if !strings.Contains(b.stdout.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.stdout.String())
		}
	}
}

func TestBenchKillsTheLeaderOfAClusterOfItsOwn(t *testing.T) {
	tmp := withoutEndpoints(t)
	b := startBench(t, "elect", "--subjects=fenceline", "--contenders=2", "--rounds=1", "--duration=300ms", "--members=3", "--etcd-kills=1", "--kill-ttl=4s", "-o=json")
	if code := b.end(); code != 0 {
		t.Errorf("code %d", code)
	}
	var r bench.Result
	err := json.Unmarshal(b.stdout.Bytes(), &r)
	if row := find(&r, takeover.KilledWithEtcd)["fenceline"]; err != nil || row.Count != 1 || !strings.Contains(row.Remark, "gave 1 of 1 leases their time again") {
		t.Errorf("%v: %s", err, b.stdout.String())
	}
	if left, _ := os.ReadDir(tmp); len(left) > 0 {
		t.Errorf("files stay: %v", left)
	}
}

func TestBenchBarrierHasAsManyPartiesAsContenders(t *testing.T) {
	r := benchJSON(t, "barrier", "--contenders=2,3")
	if len(r.Cells) != 2 || r.Cells[1].Setting.(map[string]any)["parties"] != 3.0 {
		t.Fatalf("got %+v", r.Cells)
	}
	for _, c := range r.Cells {
		for _, s := range c.Subjects {
			if s.Acquisitions < int64(c.Contenders) || s.HandOver.Count == 0 || s.Errors > 0 {
				t.Errorf("cell %v: %+v", c.Cell, s)
			}
		}
	}
}

func TestBenchRefusesFilesBeforeTheRun(t *testing.T) {
	t.Chdir(t.TempDir())
	for args, want := range map[string]string{
		"--csv=":                    "--csv is empty",
		"--html -":                  "--html -: stdout has the report",
		"--csv a --html ./a":        "--html and --csv are both a",
		"--html a --csv no/such/b":  "--csv: open no/such/b",
		"--contenders 1,1":          "cell 1 is there twice",
		"--redis nope":              `--redis "nope": want host:port`,
		"--postgres nope":           "--postgres: want a URL",
		"--subjects redsync-memory": "come with --rivals",
	} {
		code, _, stderr := fenceline(append([]string{"bench"}, strings.Fields(args)...)...)
		if code != 64 || !strings.Contains(stderr, want) {
			t.Errorf("%s: code %d, %s", args, code, stderr)
		}
	}
	if left, _ := os.ReadDir("."); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestBenchWritesRowsToAPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	code, _, stderr := fenceline("bench", "--endpoints", etcdtest.Shared(t).Endpoint(), "--contenders", "1", "--rounds", "1", "--duration", "300ms",
		"--subjects", "fenceline", "--csv", fmt.Sprintf("/proc/self/fd/%d", w.Fd()))
	w.Close()
	rows, err := io.ReadAll(r)
	if code != 0 || err != nil || strings.Count(string(rows), "\n") != 3 {
		t.Errorf("code %d, %v: %s\n%s", code, err, stderr, rows)
	}
	if !strings.Contains(stderr, "Measuring the etcd at ") {
		t.Errorf("it does not say what it measures: %s", stderr)
	}
}
