package app

import "golang.org/x/sys/unix"

// echoOff keeps what is typed from being shown, from before the prompt on: a fast typist does not wait for it.
func echoOff(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Lflag &^= unix.ECHO
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}
