package cli

import (
	"bytes"
	"strings"
	"testing"
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
