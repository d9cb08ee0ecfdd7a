package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
)

// fenceline runs a command line in this process.
func fenceline(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = Main(args, strings.NewReader(""), &out, &err)
	return code, out.String(), err.String()
}

func TestWrongCommandLineIs64AndNamesWhatIsWrong(t *testing.T) {
	tests := []struct{ args, want string }{
		{"nosuch", `"nosuch"`},
		{"--nosuch", "--nosuch"},
		{"-o yaml", `"yaml" is neither table nor json`},
		{"dev --nosuch", "--nosuch"},
		{"dev --dial-timeout soon", "--dial-timeout"},
		{"dev --listen 2379", "--listen 2379: not host:port"},
		{"dev --listen etcd.example.com:1", "--listen etcd.example.com:1"},
		{"dev --listen 127.0.0.1:99999", "--listen 127.0.0.1:99999"},
		{"dev --ephemeral --data-dir d", "--ephemeral and --data-dir exclude each other"},
		{"dev --cert-file c", "--cert-file and --key-file need each other"},
		{"dev --stdin-eof -- true", "--stdin-eof"},
		{"dev --endpoints a:1", "--endpoints: dev connects to nothing"},
		{"--user bob dev", "--user: dev connects to nothing"},
		{"dev -o json", "--output: dev prints one line"},
		{"bench --contenders a", `--contenders "a": it is not a list of whole numbers, such as 1,8`},
		{"bench --hold 1,x", `--hold "1,x": it is not a list of durations, such as 0,10ms`},
		{"bench --rounds some", `--rounds "some": it is not a whole number`},
		{"bench --fenced=perhaps", `--fenced "perhaps": it is neither true nor false`},
	}
	for _, test := range tests {
		code, stdout, stderr := fenceline(strings.Fields(test.args)...)
		if code != 64 || stdout != "" || !strings.Contains(stderr, test.want) {
			t.Errorf("fenceline %s: code %d, stdout %q, stderr %q", test.args, code, stdout, stderr)
		}
		if first, _, _ := strings.Cut(test.args, " "); first == "dev" && !strings.Contains(stderr, "See 'fenceline dev --help'.") {
			t.Errorf("fenceline %s: where help is: %q", test.args, stderr)
		}
	}
}

func TestVersionIsOneLine(t *testing.T) {
	code, stdout, stderr := fenceline("--version")
	if code != 0 || !strings.HasPrefix(stdout, "fenceline ") || strings.Count(stdout, "\n") != 1 || stderr != "" {
		t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestHelpOfDevLeavesConnectionFlagsOut(t *testing.T) {
	_, stdout, _ := fenceline("dev", "--help")
	if !strings.Contains(stdout, "--data-dir") || strings.Contains(stdout, "--endpoints") || strings.Contains(stdout, "--initial-cluster") {
		t.Error(stdout)
	}
}

func TestMessagesNameNoPackages(t *testing.T) {
	for said, want := range map[string]string{
		`lock: acquire "x": session: closed`:                                     `acquire "x": closed`,
		`lock: session: not held`:                                                `not held`,
		`lock "a": lost: session: hold lost: sending SIGTERM`:                    `lock "a": lost: hold lost: sending SIGTERM`,
		`NAME "a: lock: b\"session: c" (session: closed)`:                        `NAME "a: lock: b\"session: c" (closed)`,
		`bench: Etcd has no endpoints`:                                           `Etcd has no endpoints`,
		`the lock: it is`:                                                        `the lock: it is`,
		`session: open: etcd denies access`:                                      `etcd denies access`,
		`a renewal is overdue: session: a renewal is overdue: cannot reach etcd`: `a renewal is overdue: cannot reach etcd`,
		`cron: list: etcd denies access to keys "k"*: it needs read: etcdserver: permission denied`: `etcd denies access to keys "k"*: it needs read`,
		`lock "a: a: a": x: x, x: x`: `lock "a: a: a": x: x, x: x`,
	} {
		if got := app.Plain(said); got != want {
			t.Errorf("%s: %s, want %s", said, got, want)
		}
	}
	for _, args := range [][]string{{"lock", "", "true"}, {"lock", "--ttl", "1", "a", "true"}, {"ls", "lock", ""}} {
		if _, _, stderr := fenceline(args...); !strings.Contains(stderr, "fenceline: ") || strings.Contains(stderr, "session: ") {
			t.Errorf("%q: %s", args, stderr)
		}
	}
}
