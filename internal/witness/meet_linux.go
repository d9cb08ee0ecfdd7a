package witness

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// meet has the other side prove who it is: the process that answers, after its pidfd was opened, by the number that the kernel gives with its
// message, lived then. So that number was nobody else's.
func (s *Server) meet(conn *net.UnixConn) (*process, error) {
	if err := conn.SetDeadline(time.Now().Add(handshakeWithin)); err != nil {
		return nil, err
	}
	m, pid, files, err := receive(conn)
	if err != nil {
		closeAll(files)
		return nil, err
	}
	p := &process{pid: pid, guests: m.Guests, link: time.Duration(m.Link * float64(time.Second)), far: m.PID != pid, leases: map[clientv3.LeaseID]time.Duration{}, groups: map[int]*os.File{}, open: true, done: make(chan struct{})}
	ok := false
	defer func() {
		if !ok {
			closeAll(files)
			p.close()
		}
	}()
	switch {
	case m.Do != "hello":
		return nil, fmt.Errorf("the first message is %q: want hello", m.Do)
	case pid <= 0:
		return nil, errors.New("the kernel does not say who has sent the message: it is of another PID namespace")
	case len(files) > 1:
		return nil, errors.New("more than one file came along")
	case m.Link < 0 || m.Link > 3600:
		return nil, errors.New("link: want 0 to 3600 seconds")
	}
	if len(files) == 1 {
		if err := checkPage(files[0]); err != nil {
			return nil, err
		}
		p.page = files[0]
	}
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("process %d cannot be watched: %w", pid, err)
	}
	p.fd = os.NewFile(uintptr(fd), "pidfd")
	nonce := rand.Text()
	if err := send(conn, reply{Challenge: nonce}, nil); err != nil {
		return nil, err
	}
	m, again, more, err := receive(conn)
	closeAll(more)
	switch {
	case err != nil:
		return nil, err
	case m.Do != "here" || m.Nonce != nonce:
		return nil, errors.New("the challenge is not answered")
	case again != pid:
		return nil, fmt.Errorf("process %d said hello, and process %d answers", pid, again)
	}
	ok = true
	return p, conn.SetDeadline(time.Time{})
}

// checkPage refuses a file that its writer could make shorter.
func checkPage(f *os.File) error {
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if err != nil || seals&unix.F_SEAL_SHRINK == 0 {
		return errors.New("the page is no sealed file of memory")
	}
	if _, err := readPage(f); err != nil {
		return err
	}
	return nil
}

var errTooLong = errors.New("a message of more than 4096 bytes")

// receive reads a message, who has sent it by the kernel's word, and the files that came along.
func receive(conn *net.UnixConn) (m message, pid int, files []*os.File, err error) {
	text, oob := make([]byte, mostBytes), make([]byte, 256)
	n, oobn, flags, _, err := conn.ReadMsgUnix(text, oob)
	if err != nil {
		return m, 0, nil, err
	}
	control, perr := unix.ParseSocketControlMessage(oob[:oobn])
	for i := range control {
		if rights, err := unix.ParseUnixRights(&control[i]); err == nil {
			for _, fd := range rights {
				unix.CloseOnExec(fd)
				files = append(files, os.NewFile(uintptr(fd), "page"))
			}
		}
		if cred, err := unix.ParseUnixCredentials(&control[i]); err == nil {
			pid = int(cred.Pid)
		}
	}
	switch {
	case perr != nil:
		return m, pid, files, perr
	case n == 0:
		return m, pid, files, net.ErrClosed
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		return m, pid, files, errTooLong
	}
	if err := json.Unmarshal(text[:n], &m); err != nil {
		return m, pid, files, fmt.Errorf("it is no message: %w", err)
	}
	return m, pid, files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
