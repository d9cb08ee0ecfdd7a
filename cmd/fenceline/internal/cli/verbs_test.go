package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	inspectroom "github.com/fenceline/fenceline/cmd/fenceline/internal/inspect"
	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

func TestWrongCommandLinesOfVerbsAre64BeforeAnyRequest(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"assert"}, "leader, held or waiting is missing"},
		{[]string{"assert", "locked", "a"}, `"locked": it is none of leader, held, waiting`},
		{[]string{"assert", "held"}, "NAME is missing"},
		{[]string{"assert", "leader", "lock", "a"}, `KIND "lock": nobody leads there`},
		{[]string{"assert", "held", "--least", "2", "a"}, "--least and --most are for waiting"},
		{[]string{"assert", "waiting", "--least", "3", "--most", "2", "a"}, "--most 2 is less than --least 3"},
		{[]string{"assert", "waiting", "--least", "-1", "a"}, "must not be negative"},
		{[]string{"rm", "latch"}, "NAME is missing"},
		{[]string{"rm", "lock", "a", "--yes"}, `"fenceline release" ends a hold`},
		{[]string{"rm", "door", "a", "--yes"}, `KIND "door": it is none of cron, semaphore, barrier, gate, latch`},
		{[]string{"rm", "latch", "", "--yes"}, `latch "": it is empty`},
		{[]string{"rm", "latch", "a"}, "--yes is missing"},
		{[]string{"ls", "--match", "[", "lock"}, `--match "[": it is not a pattern`},
		{[]string{"ls", "--host", "[", "lock"}, `--host "[": it is not a pattern`},
		{[]string{"ls", "--state", "open"}, `--state "open": it is neither holds nor waits`},
		{[]string{"ls", "--watch", "--every", "0"}, "--every: want at least 0.1"},
		{[]string{"exporter", "a"}, `"a": one argument too many`},
		{[]string{"exporter", "--listen", "8016"}, `--listen "8016": want host:port`},
		{[]string{"exporter", "--names", "["}, `--names "[": it is not a pattern`},
		{[]string{"exporter", "--every", "0"}, "--every: want at least 0.1"},
		{[]string{"exporter", "--namespace", ""}, "--namespace: it is empty"},
		{[]string{"dashboard", "a"}, `"a": one argument too many`},
		{[]string{"dashboard", "--listen", "8017"}, `--listen "8017": want host:port`},
		{[]string{"dashboard", "--listen", ":8017"}, "not this machine alone"},
		{[]string{"dashboard", "--auth-file", "/no/such/file"}, "no such file"},
		{[]string{"dashboard", "--prefix", "locks"}, `--prefix "locks": want /path`},
		{[]string{"top", "lock", "a"}, `"a": one KIND at most`},
		{[]string{"top", "door"}, `KIND "door"`},
		{[]string{"top", "--sort", "size"}, `--sort "size": it is none of come`},
		{[]string{"top", "--times", "-1"}, "--times: it must not be negative"},
	} {
		code, stdout, stderr := fenceline(append(test.args, "--endpoints", "127.0.0.1:1")...)
		if code != 64 || stdout != "" || !strings.Contains(stderr, test.want) {
			t.Errorf("%q: code %d, stdout %q, stderr %q, want %q", test.args, code, stdout, stderr, test.want)
		}
	}
	for _, args := range [][]string{{"assert", "held", "a"}, {"rm", "gate", "a", "--yes"}, {"top"}, {"ls", "--watch"}, {"ls", "--wide"}, {"exporter"}, {"dashboard"}} {
		if code, stdout, stderr := fenceline(append(args, "--endpoints", "127.0.0.1:1")...); code != 69 || stdout != "" || !strings.Contains(stderr, "cannot reach etcd") {
			t.Errorf("%q: code %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
	}
}

func TestAssertTellsByItsCode(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	release := hold(t, m, name)
	waits := started(t, m.Endpoint(), "lock", name, "true")
	keysUnder(t, m.Client(t), "fenceline/lock/"+name+"/", 2)
	leads := started(t, m.Endpoint(), "elect", name+"-e", "--", "sh", "-c", "echo > $D/led; exec sleep 60")
	leads.until("led")
	for _, test := range []struct {
		args string
		code int
		says string
	}{
		{"held NAME", 0, ""},
		{"held lock NAME --by sh", 0, ""},
		{"held NAME --by other", 1, "held by sh@"},
		{"held NAME --host other", 1, "held by sh@"},
		{"held NAME-no", 1, "nobody holds it"},
		{"leader NAME-e", 0, ""},
		{"leader election NAME-e --by sh", 0, ""},
		{"leader NAME-e --by other", 1, "held by sh@"},
		{"leader NAME", 1, "nobody holds it"},
		{"waiting NAME", 0, ""},
		{"waiting NAME --least 2", 1, "1 wait, want at least 2"},
		{"waiting NAME --most 0", 1, "1 wait, want 0 to 0"},
		{"waiting NAME-no --most 3", 0, ""},
		{"waiting NAME-no", 1, "0 wait, want at least 1"},
		{"waiting NAME --by other", 1, "0 wait"},
	} {
		args := append([]string{"assert", "--endpoints", m.Endpoint()}, strings.Fields(strings.ReplaceAll(test.args, "NAME", name))...)
		if code, stdout, stderr := fenceline(args...); code != test.code || stdout != "" || !strings.Contains(stderr, test.says) || test.code == 0 && stderr != "" {
			t.Errorf("%s: code %d, %q, %q", test.args, code, stdout, stderr)
		}
	}
	release()
	waits.exits(0)
}

func TestRmDeletesWhatNobodyUses(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	run := func(want int, says string, args ...string) {
		t.Helper()
		if code, _, stderr := fenceline(append([]string{args[0], "--endpoints", m.Endpoint()}, args[1:]...)...); code != want || !strings.Contains(stderr, says) {
			t.Errorf("%q: code %d, %q", args, code, stderr)
		}
	}
	run(0, "", "latch", name, "down", "a", "--count", "2")
	run(0, "", "gate", "close", name)
	run(0, "", "sem", "resize", name, "3")
	run(0, "", "barrier", name, "--parties", "1", "--", "true")
	for _, kind := range []string{"latch", "gate", "semaphore", "barrier"} {
		run(0, "deleted", "rm", kind, name, "--yes")
		run(1, "nothing deleted", "rm", kind, name, "--yes")
	}
	run(1, "nothing deleted", "rm", "cron", name, "--yes")
	for _, kind := range []string{"latch", "gate", "semaphore", "barrier"} {
		if left := etcdtest.Keys(t, m.Client(t), "fenceline/"+kind+"/"+name+"/"); len(left) > 0 {
			t.Errorf("%q are left", left)
		}
	}
	w := started(t, m.Endpoint(), "sem", name, "--limit", "1", "--", "sh", "-c", "echo > $D/held; exec sleep 60")
	w.until("held")
	run(1, "in use", "rm", "semaphore", name, "--yes")
}

func TestLsShowsWhatMatches(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	release := hold(t, m, name+"/a")
	started(t, m.Endpoint(), "lock", name+"/a", "true")
	keysUnder(t, m.Client(t), "fenceline/lock/"+strings.ReplaceAll(name, "/", "%2F")+"%2Fa/", 2)
	other := hold(t, m, name+"/b")
	for _, test := range []struct {
		args string
		want int // lines of the table
	}{
		{"--match NAME*", 4}, {"--match NAME/?", 4}, {"--match */b", 2}, {"--match NAME", 0}, {"--match NAME* --state waits", 2}, {"--match NAME* --state holds", 3},
		{"--match NAME* --host nope*", 0}, {"--match NAME* --host *", 4},
	} {
		args := append([]string{"ls", "--endpoints", m.Endpoint()}, strings.Fields(strings.ReplaceAll(test.args, "NAME", name))...)
		if code, stdout, stderr := fenceline(args...); code != 0 || strings.Count(stdout, "\n") != test.want {
			t.Errorf("%s: code %d, %q\n%s", test.args, code, stderr, stdout)
		}
	}
	code, stdout, stderr := fenceline("ls", "lock", name+"/a", "--wide", "--endpoints", m.Endpoint())
	if code != 0 || !strings.Contains(stdout, "LEASE LEFT") || !strings.Contains(stdout, "fenceline/lock/") || strings.Count(stdout, "\n") != 3 {
		t.Errorf("wide: code %d, %q\n%s", code, stderr, stdout)
	}
	var s inspect.Snapshot
	if _, stdout, _ := fenceline("ls", "--match", name+"/b", "-o", "json", "--endpoints", m.Endpoint()); json.Unmarshal([]byte(stdout), &s) != nil || len(s.Lines) != 1 {
		t.Errorf("as JSON: %s", stdout)
	}
	other()
	release()
}

func TestWatchedLsShowsChangesAndEndsWithASignal(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	w := started(t, m.Endpoint(), "ls", "lock", name, "--watch", "--every", "0.1")
	shows := func(what string, want ...string) {
		t.Helper()
		etcdtest.Eventually(t, 10*time.Second, what, func() bool {
			text := w.stdout()
			for _, part := range want {
				_, after, found := strings.Cut(text, part)
				if !found {
					return false
				}
				text = after
			}
			return true
		})
	}
	shows("that nobody is there", "nobody holds")
	release := hold(t, m, name)
	shows("the holder", "nobody holds", "holds")
	release()
	shows("its end", "nobody holds", "holds", "nobody holds")
	w.signal(syscall.SIGINT)
	w.exits(0)
}

func TestTopShowsWhoWaits(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	release := hold(t, m, name)
	w := started(t, m.Endpoint(), "lock", name, "true")
	keysUnder(t, m.Client(t), "fenceline/lock/"+name+"/", 2)
	code, stdout, stderr := fenceline("top", "--match", name, "--times", "2", "--every", "0.2", "-o", "json", "--endpoints", m.Endpoint())
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if code != 0 || len(lines) != 2 {
		t.Fatalf("code %d, %q, %q", code, stdout, stderr)
	}
	var look struct {
		Lines []inspectroom.TopRow `json:"lines"`
	}
	if err := json.Unmarshal([]byte(lines[1]), &look); err != nil || len(look.Lines) != 1 {
		t.Fatalf("%v: %s", err, lines[1])
	}
	if r := look.Lines[0]; r.Kind != "lock" || r.Name != name || r.Waiting != 1 || r.Holds != 1 || !strings.HasPrefix(r.Who, "sh@") {
		t.Errorf("%+v", r)
	}
	code, stdout, stderr = fenceline("top", "lock", "--match", name, "--times", "1", "--endpoints", m.Endpoint())
	if code != 0 || !strings.HasPrefix(stdout, "KIND") || !strings.Contains(stdout, name) {
		t.Errorf("code %d, %q\n%s", code, stderr, stdout)
	}
	release()
	w.exits(0)
}

func TestRowsOfTopAreSortedByWhatIsAskedFor(t *testing.T) {
	rows := func(by string) (names string) {
		f := &inspectroom.TopFlags{}
		for i, o := range inspectroom.Orders {
			if o.Name == by {
				f.Order = i
			}
		}
		now := time.Now()
		line := func(name string, come, gone int, waits ...time.Duration) *inspect.LineTraffic {
			l := &inspect.LineTraffic{Line: &inspect.Line{Kind: "lock", Name: name}, Come: come, Gone: gone}
			for _, d := range waits {
				l.Entries = append(l.Entries, inspect.Entry{State: inspect.Waits, Waits: now.Add(-d)})
			}
			return l
		}
		for _, r := range f.Rows(&inspect.Traffic{Over: time.Second, Lines: []*inspect.LineTraffic{
			line("a", 1, 3), line("b", 9, 1, time.Minute), line("c", 2, 9, time.Second, time.Second)}}) {
			names += r.Name
		}
		return names
	}
	for by, want := range map[string]string{"come": "bca", "gone": "cab", "waiting": "cba", "longest": "bca", "name": "abc"} {
		if got := rows(by); got != want {
			t.Errorf("by %s: %s, want %s", by, got, want)
		}
	}
}

func TestExporterServesMetricsUntilASignal(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	release := hold(t, m, name)
	w := started(t, m.Endpoint(), "exporter", "--listen", "127.0.0.1:0", "--names", name, "--every", "0.2")
	held := fmt.Sprintf("fenceline_held{kind=%q,name=%q} ", "lock", name)
	shows := func(want string) func() bool {
		return func() bool {
			text := w.scraped()
			return strings.Contains(text, held+want+"\n") && strings.Contains(text, "fenceline_exporter_up 1\n")
		}
	}
	etcdtest.Eventually(t, 10*time.Second, "the hold", shows("1"))
	release()
	etcdtest.Eventually(t, 10*time.Second, "its end", shows("0"))
	if code, _, stderr := fenceline("exporter", "--listen", strings.TrimSuffix(strings.TrimPrefix(w.metricsURL(), "http://"), "/metrics"), "--endpoints", m.Endpoint()); code != 1 || !strings.Contains(stderr, "address already in use") {
		t.Errorf("on an address that is taken: code %d, %q", code, stderr)
	}
	w.signal(syscall.SIGTERM)
	w.exits(0)
}

// metricsURL is where an exporter says that it serves; empty: it has not yet.
func (w *wrapper) metricsURL() string {
	return regexp.MustCompile(`http://\S+/metrics`).FindString(w.stderr())
}

func TestDashboardServesPagesUntilASignal(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	hold(t, m, name)
	w := started(t, m.Endpoint(), "dashboard", "--listen", "127.0.0.1:0", "--prefix", "/locks")
	etcdtest.Eventually(t, 10*time.Second, "the hold", func() bool { return strings.Contains(w.page("lines?match="+name), name+"</a>") })
	if text := w.page("lines?format=json&match=" + name); !strings.Contains(text, `"total": 1`) {
		t.Errorf("its twin: %s", text)
	}
	address := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(w.stderr())
	if code, _, stderr := fenceline("dashboard", "--listen", address, "--endpoints", m.Endpoint()); code != 1 || !strings.Contains(stderr, "address already in use") {
		t.Errorf("on an address that is taken: code %d, %q", code, stderr)
	}
	events, err := http.Get("http://" + address + "/locks/events") // a page that is open does not hold up the end
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	w.signal(syscall.SIGTERM)
	w.exits(0)
}

// page is what a dashboard serves; empty: nothing yet.
func (w *wrapper) page(path string) string {
	return get(regexp.MustCompile(`http://\S+/`).FindString(w.stderr()) + path)
}

// scraped is what an exporter serves; empty: nothing yet.
func (w *wrapper) scraped() string {
	return get(w.metricsURL())
}

func get(url string) string {
	resp, err := http.Get(url)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return ""
	}
	return string(text)
}
