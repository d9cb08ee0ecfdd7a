package rival

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Server is one on loopback, in a temporary directory, started for a run.
type Server struct {
	Addr  string // host:port
	Dir   string
	shell *exec.Cmd
	stdin *os.File
	lock  *os.File // of Dir, as long as this process lives
	ended chan struct{}

	served bool // it has accepted connections
}

const (
	readyTimeout = 30 * time.Second
	endTimeout   = 10 * time.Second
)

// Start runs shell commands in a directory of their own: prepare, which may take its time, and serve, in which $PORT is the
// port to listen at; stop is the signal that ends the server at once, also with connections that are open. A shell looks after the server, and ends it when we end, however we do. As root it runs as somebody
// else, since some servers refuse to be run by root.
func Start(ctx context.Context, prepare, serve, stop string) (*Server, error) {
	return StartAfter(ctx, prepare, serve, stop, "")
}

// StartAfter is Start for a server that must be left alone until it has made a file, named by a pattern below its
// directory.
func StartAfter(ctx context.Context, prepare, serve, stop, file string) (*Server, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	sweep(os.TempDir())
	dir, err := os.MkdirTemp("", dirPrefix) // short, because a socket's path must be
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	stdin, ours, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	defer stdin.Close()
	s := &Server{Addr: addr, Dir: dir, lock: lock, stdin: ours, ended: make(chan struct{})}
	s.shell = exec.Command("sh", "-c", fmt.Sprintf(`exec >log 2>&1
		%s && { %s & server=$!; cat; kill -%s $server; wait $server; }`, prepare, serve, stop))
	_, port, _ := net.SplitHostPort(addr)
	s.shell.Env = append(os.Environ(), "PORT="+port, "DIR="+dir)
	s.shell.Dir, s.shell.Stdin = dir, stdin
	s.shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt at the terminal is for us
	if os.Geteuid() == 0 {
		err = s.unprivileged()
	}
	if err == nil {
		err = s.shell.Start()
	}
	if err != nil {
		ours.Close()
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	go func() {
		_ = s.shell.Wait() // the log says what went wrong
		close(s.ended)
	}()
	return s, s.ready(ctx, file)
}

// unprivileged has the shell run as somebody who is not root.
func (s *Server) unprivileged() error {
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return err
		}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return err
	}
	s.shell.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(s.Dir, int(uid), int(gid))
}

// ready waits until the server accepts connections. After an error it is closed.
func (s *Server) ready(ctx context.Context, file string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		if s.has(file) {
			if conn, err := net.DialTimeout("tcp", s.Addr, time.Second); err == nil {
				conn.Close()
				s.served = true
				return nil
			}
		}
		select {
		case <-s.ended:
			return errors.Join(fmt.Errorf("bench: the server has ended: %s", s.said()), s.Close())
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("bench: the server does not answer at %s: %w: %s", s.Addr, context.Cause(ctx), s.said()), s.Close())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *Server) has(file string) bool {
	found, _ := filepath.Glob(filepath.Join(s.Dir, file))
	return len(found) > 0
}

// said is the end of what the server has written.
func (s *Server) said() string {
	text, _ := os.ReadFile(filepath.Join(s.Dir, "log"))
	if len(text) > 500 {
		text = text[len(text)-500:]
	}
	return strings.TrimSpace(string(text))
}

// Close ends the server, and removes what it has written. One that never served is not asked.
func (s *Server) Close() error {
	defer s.lock.Close()
	s.stdin.Close()
	patience := endTimeout
	if !s.served {
		patience = 0
	}
	select {
	case <-s.ended:
	case <-time.After(patience):
		_ = syscall.Kill(-s.shell.Process.Pid, syscall.SIGKILL) // it may have ended at this moment
		<-s.ended
	}
	return os.RemoveAll(s.Dir)
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// Find looks for a program where the shell does, and where Debian puts servers. "" if it is not installed.
func Find(name string, patterns ...string) string {
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
