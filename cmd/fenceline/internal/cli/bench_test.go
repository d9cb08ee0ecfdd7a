package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/idle"
	"github.com/fenceline/fenceline/bench/workload"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	benchroom "github.com/fenceline/fenceline/cmd/fenceline/internal/bench"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

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
	cancel(&app.SignalError{Signal: syscall.SIGINT}) // it is also being interrupted: that must not hide it
	if code := app.ExitCode(benchroom.Failed(ctx, &bench.SafetyError{Subject: "x"})); code != 1 {
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
