package etcdtest

import (
	"fmt"
	"runtime"
	"syscall"
)

// port is a TCP port of loopback that stays ours while no server listens on it. On Linux a socket that is bound
// but does not listen keeps everybody away from the port except those who ask for it by number with
// SO_REUSEADDR, which all listeners in Go do. Elsewhere it is only a port that was free.
type port struct {
	number int
	socket int
}

func reservePort() (*port, error) {
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, fmt.Errorf("etcdtest: socket: %w", err)
	}
	p := &port{socket: fd}
	if err := p.bind(); err != nil {
		p.release()
		return nil, fmt.Errorf("etcdtest: reserve a port: %w", err)
	}
	if runtime.GOOS != "linux" {
		p.release()
	}
	return p, nil
}

func (p *port) bind() error {
	if err := syscall.SetsockoptInt(p.socket, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := syscall.Bind(p.socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	name, err := syscall.Getsockname(p.socket)
	if err != nil {
		return err
	}
	p.number = name.(*syscall.SockaddrInet4).Port
	return nil
}

func (p *port) release() {
	if p.socket >= 0 {
		syscall.Close(p.socket)
		p.socket = -1
	}
}

func (p *port) String() string { return fmt.Sprintf("127.0.0.1:%d", p.number) }
