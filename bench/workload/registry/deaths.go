package registry

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/bench"
)

// spec is the line that the process of an instance reads.
type spec struct {
	Subject, Prefix, Service, Addr string
	TTL                            time.Duration
	Username, Password             string
}

const registered = "registered"

// Serve is the process of an instance: it registers, says so, and waits for the end of in. etcd has no user: that comes
// with the line.
func Serve(ctx context.Context, etcd clientv3.Config, in io.Reader, out io.Writer) (err error) {
	lines := bufio.NewReader(in)
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return errors.Join(errors.New("bench: nobody says what to register"), err)
	}
	var s spec
	if err := json.Unmarshal(line, &s); err != nil {
		return fmt.Errorf("bench: what to register: %w", err)
	}
	etcd.Username, etcd.Password = s.Username, s.Password
	subject := registries[s.Subject]
	if subject == nil {
		return fmt.Errorf("bench: no subject %q", s.Subject)
	}
	client, err := clientv3.New(etcd)
	if err != nil {
		return err
	}
	defer client.Close()
	p, err := subject.process(ctx, client, s.Prefix, s.TTL)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closing(ctx, p)) }()
	if err := p.register(ctx, s.Service, s.Addr); err != nil {
		return err
	}
	fmt.Fprintln(out, registered)
	_, err = io.Copy(io.Discard, lines)
	return err
}

// deaths measures how long an instance is seen after its process was killed.
func (r *runner) deaths(ctx context.Context, name string) error {
	if r.Kills == 0 {
		return nil
	}
	r.Say(fmt.Sprintf("%s: %d processes killed, TTL %v", name, r.Kills, r.TTL))
	s, prefix := registries[name], r.place()
	c, err := r.gather(ctx, s, prefix, "web", 1)
	defer c.disperse()
	if err != nil {
		return err
	}
	var gone []time.Duration
	for i := range r.Kills {
		took, err := r.death(ctx, c, spec{name, prefix, "web", fmt.Sprintf("10.0.0.%d:80", i+1), r.TTL, r.Etcd.Username, r.Etcd.Password})
		if err != nil {
			return err
		}
		gone = append(gone, took...)
	}
	r.add(bench.Times(Killed, name, gone))
	return nil
}

func (r *runner) death(ctx context.Context, c *crowd, s spec) ([]time.Duration, error) {
	cmd := r.Command(Role)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	defer stdin.Close() // or it would outlive us
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var talk strings.Builder
	cmd.Stderr = &talk
	come := c.expect("+"+s.Addr, 1)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("bench: start an instance: %w", err)
	}
	line, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	if _, err := stdin.Write(append(line, '\n')); err != nil {
		return nil, errors.Join(err, cmd.Wait())
	}
	if said, err := bufio.NewReader(stdout).ReadString('\n'); strings.TrimSpace(said) != registered {
		return nil, errors.Join(fmt.Errorf("bench: an instance ended: %s", strings.TrimSpace(talk.String())), err, ended(cmd))
	}
	if _, err := c.collect(ctx, come, 1, time.Now()); err != nil {
		return nil, errors.Join(err, ended(cmd))
	}
	gone := c.expect("-"+s.Addr, 1)
	began := time.Now()
	if err := ended(cmd); err != nil {
		return nil, err
	}
	return c.collect(ctx, gone, 1, began)
}

// ended kills the process.
func ended(cmd *exec.Cmd) error {
	err := cmd.Process.Kill()
	_ = cmd.Wait() // it says that it was killed
	return err
}
