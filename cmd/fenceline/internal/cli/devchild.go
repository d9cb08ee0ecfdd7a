package cli

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/child"
)

// devChild is the command that an etcd for development is run for. It shares our process group, so that a terminal
// treats the two as one.
type devChild struct {
	cmd     *exec.Cmd
	signals chan os.Signal
}

// findDevChild looks the command up before there is an etcd to stop again.
func findDevChild(args []string) (*devChild, error) {
	path, err := child.Find(args[0])
	if err != nil {
		return nil, startFailed(err)
	}
	cmd := &exec.Cmd{Path: path, Args: args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	return &devChild{cmd: cmd}, nil
}

// run runs the command with the endpoint in its environment, and passes on the signals that it does not get by
// itself. It returns the command's end as an exit code, and ends the command when etcd fails.
func (c *devChild) run(endpoint string, failed <-chan error) error {
	c.cmd.Env = append(os.Environ(),
		"FENCELINE_ENDPOINTS="+endpoint, "FENCELINE_DISCOVERY_SRV=",
		"ETCDCTL_ENDPOINTS="+endpoint, "ETCDCTL_DISCOVERY_SRV=")
	c.signals = make(chan os.Signal, 16)
	signal.Notify(c.signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(c.signals)
	if err := c.cmd.Start(); err != nil {
		return startFailed(fmt.Errorf("cannot run %q: %w", c.cmd.Args[0], err))
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.cmd.Wait()
	}()
	var failure error
	for {
		select {
		case <-ended:
			if failure != nil {
				return failure
			}
			return childExit(c.cmd.ProcessState)
		case sig := <-c.signals:
			if !fromTerminal(sig) {
				c.cmd.Process.Signal(sig)
			}
		case err := <-failed:
			failure, failed = unavailableErrorf("etcd failed: %w", err), nil
			c.cmd.Process.Signal(syscall.SIGTERM)
		}
	}
}

// fromTerminal guesses that a key was pressed: the terminal signals its whole foreground group, the command included.
func fromTerminal(sig os.Signal) bool {
	if sig != syscall.SIGINT && sig != syscall.SIGQUIT {
		return false
	}
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	foreground, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && foreground == unix.Getpgrp()
}

// childExit is the end of a command in the words of a shell.
func childExit(state *os.ProcessState) error {
	status := state.Sys().(syscall.WaitStatus)
	switch {
	case status.Signaled():
		return &ExitError{Code: exitSignal + int(status.Signal())}
	case status.ExitStatus() != 0:
		return &ExitError{Code: status.ExitStatus()}
	}
	return nil
}
