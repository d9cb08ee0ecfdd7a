package dev

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/child"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/devserver"
)

// runBesideDev runs a command beside an etcd, and ends as the command does.
func runBesideDev(ctx context.Context, cfg devserver.Config, command []string, stderr io.Writer) error {
	path, err := child.Find(command[0]) // before there is an etcd to stop again
	if err != nil {
		return app.StartFailed(err)
	}
	i := app.Interrupts{Signals: make(chan os.Signal, 16)}
	signal.Notify(i.Signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(i.Signals)

	var server *devserver.Server
	err = i.During(ctx, func(ctx context.Context) (err error) {
		server, err = devserver.Start(ctx, cfg)
		return err
	})
	if server != nil {
		defer server.Close()
	}
	if interrupted := i.Exit(); interrupted != nil {
		return interrupted
	}
	if err != nil {
		return app.UnavailableErrorf("%w", err)
	}
	warn(stderr, server)

	// The command shares our process group, so that a terminal treats the two as one.
	cmd := &exec.Cmd{Path: path, Args: command, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	cmd.Env = append(os.Environ(),
		"FENCELINE_ENDPOINTS="+server.Endpoint(), "FENCELINE_DISCOVERY_SRV=",
		"ETCDCTL_ENDPOINTS="+server.Endpoint(), "ETCDCTL_DISCOVERY_SRV=")
	if err := cmd.Start(); err != nil {
		return app.StartFailed(fmt.Errorf("cannot run %q: %w", command[0], err))
	}
	return accompany(cmd, i.Signals, server.Failed())
}

// accompany waits for the command, passes on the signals that it does not get by itself, and ends it when etcd fails.
func accompany(cmd *exec.Cmd, signals <-chan os.Signal, failed <-chan error) (failure error) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cmd.Wait()
	}()
	for {
		select {
		case <-ended:
			if failure != nil {
				return failure
			}
			return childExit(cmd.ProcessState)
		case sig := <-signals:
			if !fromTerminal(sig) {
				cmd.Process.Signal(sig)
			}
		case err := <-failed:
			failure, failed = app.UnavailableErrorf("etcd failed: %w", err), nil
			cmd.Process.Signal(syscall.SIGTERM)
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
		return &app.ExitError{Code: app.ExitSignal + int(status.Signal())}
	case status.ExitStatus() != 0:
		return &app.ExitError{Code: status.ExitStatus()}
	}
	return nil
}
