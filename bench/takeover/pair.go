package takeover

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// pair is a process that holds and one that waits.
type pair struct {
	spec          spec
	holder, waits *process
	lease         clientv3.LeaseID // the holder's; 0 if it has none
}

// form starts both, and returns when one holds and the other is about to wait. The pair is to be dissolved also after an error.
func (r *runner) form(ctx context.Context, s spec) (*pair, error) {
	p := &pair{spec: s}
	ctx, cancel := context.WithTimeoutCause(ctx, startWithin, fmt.Errorf("bench: %s: a process does not take the lock within %v", s.Subject, startWithin))
	defer cancel()
	var err error
	if p.holder, err = spawn(r.Command(Role), s); err != nil {
		return p, err
	}
	held, err := p.holder.until(ctx, holds)
	if err != nil {
		return p, err
	}
	p.lease = held.lease
	if p.waits, err = spawn(r.Command(Role), s); err != nil {
		return p, err
	}
	_, err = p.waits.until(ctx, waits)
	return p, err
}

// kill kills the holder, and returns when.
func (p *pair) kill() time.Time {
	at := time.Now()
	p.holder.kill()
	return at
}

// errUnasked: the lock was given on before its holder was killed.
var errUnasked = errors.New("bench: a lock was given on by itself")

// succeed returns how long it took from the kill until the other held.
func (p *pair) succeed(ctx context.Context, killed time.Time) (time.Duration, error) {
	within := startWithin + 3*p.spec.TTL
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("bench: %s: nobody holds the lock %v after a kill", p.spec.Subject, within))
	defer cancel()
	held, err := p.waits.until(ctx, holds)
	switch {
	case err != nil:
		return 0, err
	case held.at.Before(killed):
		return 0, errUnasked
	}
	return held.at.Sub(killed), nil
}

func (p *pair) dissolve() {
	for _, process := range []*process{p.holder, p.waits} {
		if process != nil {
			process.end()
		}
	}
}

// said is a line of a process, or the reason why there is none.
type said struct {
	what  string
	at    time.Time
	lease clientv3.LeaseID
	err   error
}

// process runs Serve.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr bytes.Buffer
	lines  chan said // has room for all that it says
	ended  chan struct{}
}

// spawn starts one. It ends when its stdin does, so it does not outlive us, however we end.
func spawn(cmd *exec.Cmd, s spec) (*process, error) {
	p := &process{cmd: cmd, lines: make(chan said, 4), ended: make(chan struct{})}
	cmd.Stderr = &p.stderr
	var err error
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	first, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("bench: start a process: %w", err)
	}
	go func() {
		defer close(p.ended)
		for n, lines := 0, bufio.NewScanner(stdout); n < cap(p.lines)-1 && lines.Scan(); n++ {
			p.lines <- parse(lines.Text())
		}
		_, _ = io.Copy(io.Discard, stdout) // there is nothing more to say, and it must not wait for a reader
		err := cmd.Wait()
		if err == nil {
			err = errors.New("exit status 0")
		}
		p.lines <- said{err: fmt.Errorf("bench: a process ended: %w: %s", err, strings.TrimSpace(p.stderr.String()))}
	}()
	_, _ = p.stdin.Write(append(first, '\n')) // if it has ended already, its end says why
	return p, nil
}

func parse(text string) said {
	var s said
	var at, lease int64
	if _, err := fmt.Sscanf(text, "%s %d %d", &s.what, &at, &lease); err != nil {
		return said{err: fmt.Errorf("bench: a process says %q: %w", text, err)}
	}
	s.at, s.lease = time.Unix(0, at), clientv3.LeaseID(lease)
	return s
}

// until reads to the line that says this.
func (p *process) until(ctx context.Context, what string) (said, error) {
	for {
		select {
		case s := <-p.lines:
			if s.err != nil || s.what == what {
				return s, s.err
			}
		case <-ctx.Done():
			return said{}, context.Cause(ctx)
		}
	}
}

// kill is SIGKILL.
func (p *process) kill() { _ = p.cmd.Process.Kill() } // it fails if the process has ended

// end lets the process give its lease back, if it lives.
func (p *process) end() {
	_ = p.stdin.Close() // it fails if the process has ended
	late := time.AfterFunc(2*closeTimeout, p.kill)
	defer late.Stop()
	<-p.ended
}
