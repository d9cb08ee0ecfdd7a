package sqlfence

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// server is a database server in a directory of its own. A shell looks after it, and ends it when stdin ends: at the
// latest with the test binary, even one that is killed.
type server struct {
	dir   string
	shell *exec.Cmd
	stdin *os.File
}

// run takes the shell commands that make the data and that serve it, and the signal that ends serving at once, also with
// connections that are open.
func run(prepare, serve, stop string) (*server, error) {
	dir, err := os.MkdirTemp("", "sqlfence-") // short, because a socket's path must be
	if err != nil {
		return nil, err
	}
	stdin, ours, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	s := &server{dir: dir, stdin: ours}
	s.shell = exec.Command("sh", "-c", fmt.Sprintf(`
		exec >log 2>&1
		%s && { %s & server=$!; cat; kill -%s $server; wait $server; }
		rm -rf data`, prepare, serve, stop))
	s.shell.Dir, s.shell.Stdin = dir, stdin
	s.shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt at the terminal is for the tests
	if os.Geteuid() == 0 {
		if s.shell.SysProcAttr.Credential, err = unprivileged(); err != nil {
			return nil, err
		}
		if err := os.Chown(dir, int(s.shell.SysProcAttr.Credential.Uid), int(s.shell.SysProcAttr.Credential.Gid)); err != nil {
			return nil, err
		}
	}
	return s, s.shell.Start()
}

func (s *server) end() {
	s.stdin.Close()
	s.shell.Wait()
	os.RemoveAll(s.dir)
}

func (s *server) said() string {
	text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return strings.TrimSpace(string(text))
}

// unprivileged is somebody who is not root: PostgreSQL refuses to be run by root.
func unprivileged() (*syscall.Credential, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return nil, err
		}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}

// find looks where the shell does, and where Debian puts servers. "" if there is none.
func find(name string, patterns ...string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, pattern := range patterns {
		if paths, _ := filepath.Glob(pattern); len(paths) > 0 {
			return paths[len(paths)-1]
		}
	}
	return ""
}
