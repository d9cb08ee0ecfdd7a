package app

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"
)

// Credentials are the user and its password; no user means that etcd asks for none. As in etcdctl, a name may hold a
// colon if the password is given apart from it.
func (c *Connection) Credentials(ctx context.Context) (user, password string, err error) {
	switch {
	case c.user == "" && (c.password != "" || c.passwordFile != ""):
		return "", "", UsageErrorf("--password and --password-file need --user")
	case c.user == "":
		return "", "", nil
	case c.password != "":
		return c.user, c.password, nil
	case c.passwordFile != "":
		text, err := os.ReadFile(c.passwordFile)
		if err != nil {
			return "", "", UsageErrorf("--password-file: %w", err)
		}
		password, _, _ = strings.Cut(string(text), "\n")
		password = strings.TrimSuffix(password, "\r")
		if password == "" {
			return "", "", UsageErrorf("--password-file %s: its first line is empty", c.passwordFile)
		}
		return c.user, password, nil
	}
	user, password, found := strings.Cut(c.user, ":")
	if !found {
		if password, err = askPassword(ctx, user); err != nil {
			return "", "", err
		}
	}
	if password == "" {
		return "", "", UsageErrorf("password of user %q: it is empty", user)
	}
	return user, password, nil
}

// askPassword asks at the terminal even where stdin is something else: that is for the command that we run.
func askPassword(ctx context.Context, user string) (string, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", UsageErrorf("password of user %q: no terminal to ask at, see --password-file", user)
	}
	defer tty.Close()
	fd := int(tty.Fd())
	visible, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	defer term.Restore(fd, visible) // also when interrupted, which ReadPassword would not

	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	type answer struct {
		password []byte
		err      error
	}
	answers := make(chan answer, 1)
	if err := echoOff(fd); err != nil {
		return "", err
	}
	fmt.Fprintf(tty, "Password of %s: ", user)
	go func() {
		password, err := term.ReadPassword(fd)
		answers <- answer{password, err}
	}()
	defer fmt.Fprintln(tty)
	select {
	case a := <-answers:
		return string(a.password), a.err
	case <-ctx.Done():
		return "", &ExitError{Code: ExitSignal + int(syscall.SIGINT)}
	}
}
