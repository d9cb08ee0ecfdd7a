package witness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
)

// Server is a witness.
type Server struct {
	Cluster Cluster
	Log     *slog.Logger
	// Orphans says what is known of the children of dead processes; nil: nothing.
	Orphans func() Orphans

	all      sync.WaitGroup  // goroutines of Serve
	settling context.Context // ends when what is dead has to be left as it is

	mu        sync.Mutex
	meeting   int                           // connections that have not said yet who they are
	processes map[*process]bool             // one for each connection that has; it stays while a lease of its is to be watched
	told      map[clientv3.LeaseID]*process // by whom
}

// process is one that has told leases.
type process struct {
	pid    int
	fd     *os.File // its pidfd
	page   *os.File // nil: it has none
	guests bool
	link   time.Duration
	far    bool // it is of another PID namespace: numbers that it tells are other ones here

	stop context.CancelFunc // it need not be watched any more
	done chan struct{}      // closed when it is settled

	// Guarded by the server's mutex:
	leases map[clientv3.LeaseID]time.Duration // with their TTLs
	groups map[int]*os.File                   // of its children, with pidfds of their first processes
	open   bool                               // its connection
}

// Listen makes the socket. One that nobody serves is replaced; where somebody does, it is an error.
func Listen(path string) (*net.UnixListener, error) {
	if len(path) > 107 {
		return nil, fmt.Errorf("%s: the path of a socket has at most 107 bytes", path)
	}
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("%s: there is something that is no socket", path)
		}
		if conn, err := net.DialTimeout("unixpacket", path, time.Second); err == nil {
			conn.Close()
			return nil, fmt.Errorf("%s: a witness serves there already", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	if fd, err := unix.PidfdOpen(os.Getpid(), 0); err != nil {
		return nil, fmt.Errorf("this kernel cannot prove that a process is dead (pidfd_open: %w): want Linux 5.3 or later", err)
	} else {
		_ = unix.Close(fd)
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	// What a connection inherits, each message has: the kernel's word for who has sent it.
	raw, err := l.SyscallConn()
	if err == nil {
		cerr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
		err = errors.Join(err, cerr)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// lastWithin is what is left for the leases of those who were dead when Serve's ctx ended.
const lastWithin = 5 * time.Second

// Serve serves until ctx ends. It returns when the leases of those who were dead by then are settled, or five seconds after.
func (s *Server) Serve(ctx context.Context, l *net.UnixListener) error {
	ctx, cancel := context.WithCancel(ctx)
	settling, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.settling = settling
	err := s.accept(ctx, l)
	cancel() // all connections end, and nobody who lives is watched any more
	late := time.AfterFunc(lastWithin, stop)
	s.all.Wait()
	late.Stop()
	stop()
	return err
}

func (s *Server) accept(ctx context.Context, l *net.UnixListener) error {
	defer l.Close()                                          // twice does nothing
	defer context.AfterFunc(ctx, func() { _ = l.Close() })() // that ends the wait
	for {
		conn, err := l.AcceptUnix()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			var temporary interface{ Timeout() bool }
			if errors.As(err, &temporary) && temporary.Timeout() || errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
				s.Log.Warn("a connection is not taken", "error", err)
				etcd.Sleep(ctx, 100*time.Millisecond) // until others have ended
				continue
			}
			return err
		}
		if !s.enter() {
			_ = conn.SetDeadline(time.Now().Add(time.Second)) // who does not hear it finds the connection closed
			_ = send(conn, reply{Error: fmt.Sprintf("%d connections are open, which is the most", mostConnections)}, nil)
			_ = conn.Close()
			continue
		}
		s.all.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // that ends its reads
			s.serve(ctx, conn)
		})
	}
}

// enter has one more connection counted, unless there are too many. A process that has told leases counts until it is dead.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.meeting+len(s.processes) >= mostConnections {
		return false
	}
	s.meeting++
	return true
}

// met has it counted as a process; nil: it did not come to that.
func (s *Server) met(p *process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.meeting--
	if p == nil {
		return
	}
	if s.processes == nil {
		s.processes, s.told = map[*process]bool{}, map[clientv3.LeaseID]*process{}
	}
	s.processes[p] = true
}

// part forgets a process of which nothing is to be watched.
func (s *Server) part(p *process) {
	if !p.open && len(p.leases) == 0 {
		p.stop()
	}
}

// Told is how many leases are told.
func (s *Server) Told() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.told)
}

// Groups is how many groups of children are.
func (s *Server) Groups() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.processes {
		n += len(p.groups)
	}
	return n
}

// Settle waits until those processes are settled that are dead by now.
func (s *Server) Settle() {
	s.mu.Lock()
	var dead []*process
	for p := range s.processes {
		if p.dead() {
			dead = append(dead, p)
		}
	}
	s.mu.Unlock()
	for _, p := range dead {
		<-p.done
	}
}

func (s *Server) serve(ctx context.Context, conn *net.UnixConn) {
	p, err := s.meet(conn)
	s.met(p)
	if err != nil {
		_ = send(conn, reply{Error: err.Error()}, nil) // it may have gone
		s.Log.Debug("a connection has ended", "error", err)
		return
	}
	watched, stop := context.WithCancel(ctx)
	p.stop = stop
	s.all.Go(func() { s.attend(watched, p) })
	for {
		m, pid, files, err := receive(conn)
		closeAll(files)
		if err != nil {
			break
		}
		r := s.take(ctx, p, m, pid)
		if err := send(conn, r, nil); err != nil {
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p.open = false
	s.part(p)
}

func (p *process) close() {
	for _, f := range p.groups {
		_ = f.Close()
	}
	if p.fd != nil {
		_ = p.fd.Close()
	}
	if p.page != nil {
		_ = p.page.Close()
	}
}
