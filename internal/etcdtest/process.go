package etcdtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const readyTimeout = 30 * time.Second // a tenth of a second is usual; machines that run tests are busy

// process is one run of "fenceline dev". It needs no goroutines: its streams are files.
type process struct {
	cmd    *exec.Cmd
	stdin  *os.File // the server ends when this does, at the latest with the test binary
	stdout *os.File
	stderr *os.File // a file without a name
}

// spawn starts the server; it is ready when ready returns.
func spawn(dieWithUs bool, args ...string) (*process, error) {
	path, err := command()
	if err != nil {
		return nil, err
	}
	stderr, err := unnamedFile()
	if err != nil {
		return nil, err
	}
	childIn, stdin, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer childIn.Close()
	stdout, childOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer childOut.Close()

	p := &process{stdin: stdin, stdout: stdout, stderr: stderr}
	p.cmd = exec.Command(path, append([]string{"dev", "--stdin-eof"}, args...)...)
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = childIn, childOut, stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt at the terminal is for the tests
	if dieWithUs {
		killWithParent(p.cmd.SysProcAttr)
	}
	if err := p.cmd.Start(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// ready waits for the endpoint.
func (p *process) ready() (endpoint string, err error) {
	p.stdout.SetReadDeadline(time.Now().Add(readyTimeout))
	line, err := bufio.NewReader(p.stdout).ReadString('\n')
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("not ready after %v", readyTimeout)
		} else {
			err = errors.New("ended before it was ready")
		}
		p.kill()
		return "", fmt.Errorf("etcdtest: fenceline dev %w: %s", err, p.talk())
	}
	return strings.TrimSpace(line), nil
}

// kill ends the process, running or stopped, and waits for its end.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
	p.close()
}

func (p *process) close() {
	p.stdin.Close()
	p.stdout.Close()
}

// stop returns when no thread of the process runs.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return err
		case status.Stopped():
			return nil
		default:
			return fmt.Errorf("the process has ended: %s", p.talk())
		}
	}
}

// talk is what the process said on stderr.
func (p *process) talk() string {
	text, _ := io.ReadAll(io.NewSectionReader(p.stderr, 0, 1<<20))
	return strings.TrimSpace(string(text))
}

func unnamedFile() (*os.File, error) {
	f, err := os.CreateTemp("", "fenceline-etcdtest-")
	if err == nil {
		err = os.Remove(f.Name())
	}
	return f, err
}
