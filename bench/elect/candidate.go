package elect

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

// event is what a candidate says, or that its process has ended: then what is empty.
type event struct {
	who  *candidate
	what string
	at   time.Time
	err  error
}

// candidate is a process that runs Serve.
type candidate struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr bytes.Buffer
	ended  chan struct{}
}

// spawn starts a candidate. It ends when its stdin does, so it does not outlive us, however we end.
func spawn(cmd *exec.Cmd, s spec, events chan<- event, done <-chan struct{}) (*candidate, error) {
	c := &candidate{cmd: cmd, ended: make(chan struct{})}
	cmd.Stderr = &c.stderr
	var err error
	if c.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("bench: start a candidate: %w", err)
	}
	go func() {
		defer close(c.ended)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			post(parse(c, lines.Text()), events, done)
		}
		err := cmd.Wait()
		if err == nil {
			err = errors.New("exit status 0")
		}
		post(event{who: c, err: fmt.Errorf("bench: a candidate ended: %w: %s", err, strings.TrimSpace(c.stderr.String()))}, events, done)
	}()
	first, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings and a number
	}
	_, _ = c.stdin.Write(append(first, '\n')) // if it has ended already, its end says why
	return c, nil
}

func post(e event, events chan<- event, done <-chan struct{}) {
	select {
	case events <- e:
	case <-done:
	}
}

func parse(c *candidate, text string) event {
	e := event{who: c}
	var ns int64
	if _, err := fmt.Sscanf(text, "%s %d", &e.what, &ns); err != nil {
		return event{who: c, err: fmt.Errorf("bench: a candidate says %q: %w", text, err)}
	}
	e.at = time.Unix(0, ns)
	return e
}

// kill is SIGKILL.
func (c *candidate) kill() { _ = c.cmd.Process.Kill() } // it fails if the process has ended

// end lets the process give its lease back.
func (c *candidate) end() {
	_ = c.stdin.Close() // it fails if the process has ended
	late := time.AfterFunc(2*closeTimeout, c.kill)
	defer late.Stop()
	<-c.ended
}
