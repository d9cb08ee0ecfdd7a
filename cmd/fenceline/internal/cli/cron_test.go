package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	cronroom "github.com/fenceline/fenceline/cmd/fenceline/internal/cron"
	"github.com/fenceline/fenceline/cron"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

// ticks waits until a command has written n lines into $D/ticks at least.
func (w *wrapper) ticks(n int) []string {
	w.t.Helper()
	etcdtest.Eventually(w.t, 15*time.Second, fmt.Sprintf("%d ticks", n), func() bool {
		return strings.Count(w.read("ticks"), "\n") >= n
	})
	return strings.Split(strings.TrimSpace(w.read("ticks")), "\n")
}

func history(t *testing.T, m *etcdtest.Member, name string) []cron.Run {
	t.Helper()
	code, stdout, stderr := fenceline("cron", "history", name, "-o", "json", "--endpoints", m.Endpoint())
	var got struct {
		Job  string
		Runs []cron.Run
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != 0 || got.Job != name {
		t.Fatalf("code %d, %v: %s%s", code, err, stdout, stderr)
	}
	return got.Runs
}

func TestEachTickIsRunByOneOfSeveralProcesses(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	var ws []*wrapper
	for range 2 {
		ws = append(ws, started(t, m.Endpoint(), "cron", "--job", name+"=@every 1s", "--", "sh", "-c", "echo $FENCELINE_SCHEDULED >> $D/ticks"))
	}
	var all []string
	etcdtest.Eventually(t, 20*time.Second, "four ticks", func() bool {
		all = append(strings.Fields(ws[0].read("ticks")), strings.Fields(ws[1].read("ticks"))...)
		return len(all) >= 4
	})
	for _, w := range ws {
		w.signal(syscall.SIGTERM)
		w.exits(143)
	}
	all = append(strings.Fields(ws[0].read("ticks")), strings.Fields(ws[1].read("ticks"))...)
	slices.Sort(all)
	if len(slices.Compact(slices.Clone(all))) != len(all) {
		t.Errorf("a tick was run twice: %q", all)
	}
}

func TestCronCommandIsToldItsTick(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	w := started(t, m.Endpoint(), "cron", "--job", name+"=@every 1s", "--timezone", "Asia/Tokyo", "--", "sh", "-c",
		`cat; echo $FENCELINE_JOB $FENCELINE_SCHEDULED $FENCELINE_ATTEMPT $FENCELINE_TOKEN $FENCELINE_ENDPOINTS >> $D/ticks`)
	lines := w.ticks(2)
	first, second := strings.Fields(lines[0]), strings.Fields(lines[1])
	at, err := time.Parse(time.RFC3339, first[1])
	if _, offset := at.Zone(); err != nil || offset != 9*3600 {
		t.Errorf("scheduled %q: %v", first[1], err)
	}
	if first[0] != name || first[2] != "1" || first[4] != m.Endpoint() || first[3] == "0" || first[3] == second[3] {
		t.Errorf("%q, %q", first, second)
	}
}

func TestFailedRunIsMadeAgainAndRecorded(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	w := started(t, m.Endpoint(), "cron", "--job", name+"=@every 5s", "--retry", "1", "--", "sh", "-c", "echo $FENCELINE_ATTEMPT >> $D/ticks; exit 3")
	if got := w.ticks(2); got[0] != "1" || got[1] != "2" {
		t.Errorf("attempts %q", got)
	}
	etcdtest.Eventually(t, 10*time.Second, "two runs in the history", func() bool { return len(history(t, m, name)) == 2 })
	if runs := history(t, m, name); runs[0].Err != "exit code 3" || runs[1].Attempt != 2 || !strings.HasPrefix(runs[0].By, "sh@") {
		t.Errorf("%+v", runs)
	}
	w.says("attempt 1, has failed: exit code 3")
}

func TestCronCommandIsKilledWhenItsClaimIsLost(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	w := started(t, m.Endpoint(), "cron", "--job", name+"=@every 1s", "--grace", "0.3", "--", "sh", "-c", beats)
	w.until("pid")
	if _, err := m.Client(t).Delete(t.Context(), "fenceline/cron/"+name+"/claim/0"); err != nil {
		t.Fatal(err)
	}
	etcdtest.Eventually(t, 10*time.Second, "SIGKILL", func() bool { return strings.Contains(w.stderr(), "SIGKILL") })
	w.says("lost: ")
}

func TestCronCommandIsDeadBeforeTheNextAttemptWhenTheNetworkIsCut(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	p := etcdtest.NewProxy(t, m)
	args := []string{"cron", "--job", name + "=@every 1s", "--ttl", "2", "--retry", "1", "--", "sh", "-c"}
	w := started(t, p.Endpoint(), append(args, beats)...)
	w.until("beats")
	next := started(t, m.Endpoint(), append(args, `[ $FENCELINE_ATTEMPT = 1 ] || date +%s%N >> $D/beats`)...)
	p.Blackhole()
	next.until("beats")
	if overlap := w.lastBeat().Sub(next.lastBeat()); overlap >= 0 {
		t.Errorf("the command was alive %v after the next attempt began", overlap)
	}
	w.commandIsDead()
}

func TestSIGTERMEndsTheRunningCronCommandAndThenTheWrapper(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	w := started(t, m.Endpoint(), "cron", "--job", name+"=@every 1s", "--", "sh", "-c",
		`trap 'sleep 0.5; echo > $D/term; exit 0' TERM; echo >> $D/ticks; while :; do sleep 0.01; done`)
	w.ticks(1)
	w.signal(syscall.SIGTERM)
	w.exits(143)
	w.until("term")
	if runs := history(t, m, name); len(runs) != 1 || runs[0].Err != "" {
		t.Errorf("%+v, want one run that succeeded", runs)
	}
	keysUnder(t, m.Client(t), "fenceline/cron/"+name+"/claim/", 0)
}

func TestCronLsShowsScheduleTicksAndResult(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Start(t), etcdtest.Name(t)
	code, stdout, stderr := fenceline("cron", "ls", "--endpoints", m.Endpoint())
	if code != 0 || stdout != "" || !strings.Contains(stderr, "no job has run") {
		t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	w := started(t, m.Endpoint(), "cron", "--job", name+"=@every 1s", "--", "sh", "-c", "echo >> $D/ticks; exit 4")
	w.ticks(2)
	w.signal(syscall.SIGTERM)
	w.exits(143)
	_, stdout, _ = fenceline("cron", "ls", "--endpoints", m.Endpoint(), "-o", "json")
	var got struct{ Jobs []cronroom.ShownJob }
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || len(got.Jobs) != 1 {
		t.Fatalf("%v: %s", err, stdout)
	}
	host, _ := os.Hostname()
	j := got.Jobs[0]
	if by := fmt.Sprintf("sh@%s pid %d", host, w.cmd.Process.Pid); j.Name != name || j.Schedule != "@every 1s" || j.Zone != "UTC" || j.By != by ||
		j.Last.IsZero() || !j.Next.After(j.Last) || j.Latest == nil || j.Latest.Err != "exit code 4" {
		t.Errorf("%s", stdout)
	}
	_, stdout, _ = fenceline("cron", "ls", "--endpoints", m.Endpoint())
	if !strings.HasPrefix(stdout, "JOB ") || !strings.Contains(stdout, "failed: exit code 4") || strings.Count(stdout, "\n") != 2 {
		t.Errorf("%s", stdout)
	}
	_, stdout, _ = fenceline("cron", "history", name, "--endpoints", m.Endpoint())
	if !strings.HasPrefix(stdout, "SCHEDULED") || strings.Count(stdout, "failed: exit code 4") < 2 {
		t.Errorf("%s", stdout)
	}
	if _, stdout, _ := fenceline("__complete", "cron", "history", "--endpoints", m.Endpoint(), name[:3]); !strings.HasPrefix(stdout, name+"\n") {
		t.Errorf("completion %q", stdout)
	}
}

func TestWrongCronCommandLinesAre64BeforeAnyRequest(t *testing.T) {
	for _, test := range []struct {
		args string
		want string
	}{
		{"", "--job is missing"},
		{"sh", `"sh": it is none of ls, history, run, pause, resume, rm; COMMAND comes behind --`},
		{"--job|a=@hourly|sh", `"sh": it is none of ls, history, run, pause, resume, rm; COMMAND comes behind --`},
		{"--|true", "--job is missing"},
		{"--job|a=@hourly", `nothing to run as job "a"`},
		{"--job|a=@hourly|--", `nothing to run as job "a"`},
		{"--job|a=@hourly|--job|b=@hourly|--|true", "--jobs takes a file with several"},
		{"--job|a=@hourly|--jobs|x|--|true", "one or the other"},
		{"--jobs|/nowhere/to/be/found", "--jobs: open /nowhere/to/be/found"},
		{"--jobs|x|--|true", "the commands stand in the file"},
		{"--job|a=@hourly|--timeout|0|--|true", "--timeout 0s: it is not positive"},
		{"--job|a=@hourly|--max-missed|3|--|true", "only --missed all"},
		{"--job|a=@hourly|--max-running|-1|--|true", "--max-running -1: it is negative"},
		{"pause", "NAME is missing"},
		{"run|a|b", `"b": one NAME at most`},
		{"rm|", `job "": it is empty`},
		{"--job|a|--|true", `--job "a": it is not NAME=SCHEDULE`},
		{"--job|=@hourly|--|true", `job "": it is empty`},
		{"--job|a=|--|true", `--job "a=": schedule "": it is empty`},
		{"--job|a=@every 1|--|true", "@every wants a duration of at least one second"},
		{"--job|a=@every 1500ms|--|true", "in whole seconds"},
		{"--job|a=61 * * * *|--|true", `schedule "61 * * * *": it is neither five fields nor a descriptor`},
		{"--job|a=0 0 30 2 *|--|true", "that day never comes"},
		{"--job|a=TZ=UTC 0 0 * * *|--|true", "the time zone is an option: In (--timezone)"},
		{"--job|a=@hourly|--timezone|Nowhere|--|true", `--timezone "Nowhere": it is not the name of a time zone`},
		{"--job|a=@hourly|--timezone|Local|--|true", `--timezone "Local"`},
		{"--job|a=@hourly|--missed|some|--|true", `--missed "some": it is none of skip, once, all`},
		{"--job|a=@hourly|--missed|all|--|true", "--missed all needs --late"},
		{"--job|a=@hourly|--late|1h|--|true", "--late 1h0m0s: --missed skip runs no tick late"},
		{"--job|a=@hourly|--late|-1|--missed|once|--|true", `--late "-1": it is negative`},
		{"--job|a=@hourly|--retry|-1|--|true", "--retry -1: it is negative"},
		{"--job|a=@hourly|--ttl|1|--|true", "1s: it is under 2s"},
		{"--job|a=@hourly|--namespace||--|true", "--namespace: it is empty"},
		{"ls|--namespace|", "--namespace: it is empty"},
		{"ls|x", `"x"`},
		{"history", "NAME is missing"},
		{"history|a|b", `"b": one NAME at most`},
		{"history|", `job "": it is empty`},
	} {
		args := []string{"cron"}
		if test.args != "" {
			args = append(args, strings.Split(test.args, "|")...)
		}
		code, stdout, stderr := fenceline(args...)
		if code != 64 || stdout != "" || !strings.Contains(stderr, test.want) {
			t.Errorf("%q: code %d, stdout %q, stderr %q, want %q", args, code, stdout, stderr, test.want)
		}
	}
}

func TestFileWithJobsIsReadByLine(t *testing.T) {
	common := cronroom.JobFlags{Zone: "UTC", Missed: "skip", Retry: 1}
	for text, want := range map[string]string{
		"a=@every 1s -- true": "a|@every 1s|UTC|skip|1|true",
		"a=30 6 * * 1-5 --timezone Europe/Berlin --retry 2 -- sh -c 'x | y \"z\"'":  "a|30 6 * * 1-5|Europe/Berlin|skip|2|sh,-c,x | y \"z\"",
		`"a b=@daily" --missed all --late 1h -- cmd --flag "two words" $HOME # why`: "a b|@daily|UTC|all|1|cmd,--flag,two words,$HOME",
	} {
		j, err := cronroom.ReadJob(text, common)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := fmt.Sprintf("%s|%s|%s|%s|%d|%s", j.Name, j.Schedule, j.Zone, j.Missed, j.Retry, strings.Join(j.Command, ","))
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"a=@every 1s":                   "-- COMMAND is missing",
		"a=@every 1s --":                "-- COMMAND is missing",
		"a=@every 1s -- true | false":   "is for a shell to read",
		"a=@every 1s -- true; false":    "is for a shell to read",
		"a=@never -- true":              "neither five fields",
		"@daily -- true":                "it is not NAME=SCHEDULE",
		"a=@daily --retry x -- true":    "--retry",
		"a=@daily --ttl 3 -- true":      "unknown flag: --ttl",
		"a=@daily --retry 1 x -- true":  `"x": what is that?`,
		"a=@daily -- 'true":             "",
		"a=@daily --missed all -- true": "needs --late",
		"=@daily -- true":               "it is empty",
	} {
		if _, err := cronroom.ReadJob(text, common); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	file := t.TempDir() + "/jobs"
	if err := os.WriteFile(file, []byte("# comment\n\na=@daily -- true\n  a=@hourly -- true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := cronroom.ReadJobs(file, common); err == nil || !strings.Contains(err.Error(), file+`:4: job "a" stands there twice`) {
		t.Errorf("%v", err)
	}
}

func TestOneProcessRunsSeveralJobsAndEndsThemAll(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	file := t.TempDir() + "/jobs"
	lines := name + "-a=@every 1s -- sh -c 'echo $FENCELINE_JOB >> $D/ticks'\n" +
		name + "-b=@every 1s -- sh -c 'echo $FENCELINE_JOB >> $D/ticks; exit 3'\n" +
		name + "-c=@every 1s --timeout 0.3 -- sh -c 'echo > $D/started; exec sleep 60'\n"
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	w := started(t, m.Endpoint(), "cron", "--jobs", file)
	etcdtest.Eventually(t, 15*time.Second, "ticks of both", func() bool {
		return strings.Contains(w.read("ticks"), name+"-a") && strings.Contains(w.read("ticks"), name+"-b")
	})
	etcdtest.Eventually(t, 15*time.Second, "the end of one that takes too long", func() bool {
		runs := history(t, m, name+"-c")
		return len(runs) > 0 && strings.Contains(runs[0].Err, "longer than 300ms")
	})
	w.signal(syscall.SIGTERM)
	w.exits(143)
	w.says(fmt.Sprintf(`job "%s-b": run of`, name))
	w.says("has taken longer than 300ms")
}

func TestJobIsPausedRunAndForgottenByName(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	verb := func(want int, says string, args ...string) {
		t.Helper()
		code, _, stderr := fenceline(append(append([]string{"cron"}, args...), "--endpoints", m.Endpoint())...)
		if code != want || !strings.Contains(stderr, says) {
			t.Errorf("%q: code %d, %s; want %d, %s", args, code, stderr, want, says)
		}
	}
	shown := func() string {
		_, stdout, _ := fenceline("cron", "ls", "--endpoints", m.Endpoint())
		for line := range strings.Lines(stdout) {
			if strings.HasPrefix(line, name+" ") {
				return line
			}
		}
		return ""
	}
	verb(1, "unknown job", "pause", name)
	w := started(t, m.Endpoint(), "cron", "--job", name+"=@yearly", "--", "sh", "-c", "echo $FENCELINE_SCHEDULED >> $D/ticks")
	etcdtest.Eventually(t, 10*time.Second, "the job in the list", func() bool { return strings.Contains(shown(), " 1 ") })
	verb(0, "is paused", "pause", name)
	if line := shown(); !strings.Contains(line, "paused by ") {
		t.Errorf("%s", line)
	}
	verb(0, "is asked for", "run", name)
	w.ticks(1)
	verb(0, "is resumed", "resume", name)
	w.signal(syscall.SIGTERM)
	w.exits(143)
	verb(1, "no process has the job", "run", name)
	verb(0, "is forgotten", "rm", name)
	verb(1, "unknown job", "rm", name)
	if line := shown(); line != "" {
		t.Errorf("%s", line)
	}
}

func TestUnreadableRecordEndsTheOnlyJobAndHidesNoOther(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	client := m.Client(t)
	w := started(t, m.Endpoint(), "cron", "--job", "good=@every 1s", "--", "sh", "-c", "echo >> $D/ticks")
	w.ticks(1)
	if _, err := client.Put(t.Context(), "fenceline/cron/bad/record", "not json"); err != nil {
		t.Fatal(err)
	}
	bad := started(t, m.Endpoint(), "cron", "--job", "bad=@every 1s", "--", "true")
	bad.exits(69)
	bad.says("fenceline cron rm")
	code, stdout, stderr := fenceline("cron", "ls", "--endpoints", m.Endpoint())
	if code != 0 || !strings.Contains(stdout, "good ") || !strings.Contains(stdout, "cannot be read") {
		t.Errorf("code %d: %s%s", code, stdout, stderr)
	}
	if code, _, stderr := fenceline("cron", "rm", "bad", "--endpoints", m.Endpoint()); code != 0 {
		t.Errorf("code %d: %s", code, stderr)
	}
}
