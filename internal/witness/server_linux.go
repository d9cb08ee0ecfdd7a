package witness

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Server is a witness.
type Server struct {
	Cluster Cluster
	Log     *slog.Logger
	// Orphans says what is known of the children of dead processes; nil: nothing.
	Orphans func() Orphans

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

// Serve serves until ctx ends. It returns when all leases of those that were dead by then are settled, or ctx's cause says that it must not wait.
func (s *Server) Serve(ctx context.Context, l *net.UnixListener) error {
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	for {
		conn, err := l.AcceptUnix()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			var temporary interface{ Timeout() bool }
			if errors.As(err, &temporary) && temporary.Timeout() || errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
				s.Log.Warn("a connection is not taken", "error", err)
				time.Sleep(100 * time.Millisecond) // until others have ended
				continue
			}
			return err
		}
		if !s.enter() {
			_ = conn.SetDeadline(time.Now().Add(time.Second))
			_ = send(conn, reply{Error: fmt.Sprintf("%d connections are open, which is the most", mostConnections)}, nil)
			_ = conn.Close()
			continue
		}
		go func() {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			s.serve(ctx, conn)
		}()
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
		_ = send(conn, reply{Error: err.Error()}, nil)
		s.Log.Debug("a connection has ended", "error", err)
		return
	}
	watched, stop := context.WithCancel(ctx)
	p.stop = stop
	go s.attend(watched, p)
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

// take takes a message about a lease.
func (s *Server) take(ctx context.Context, p *process, m message, pid int) reply {
	r := reply{Lease: m.Lease}
	refuse := func(format string, args ...any) reply {
		r.Error = fmt.Sprintf(format, args...)
		return r
	}
	if pid != p.pid {
		return refuse("process %d tells, and process %d has said hello: connect again", pid, p.pid)
	}
	if m.Do == "group" || m.Do == "ungroup" {
		if err := s.takeGroup(p, m); err != nil {
			return refuse("%v", err)
		}
		return r
	}
	id, err := strconv.ParseInt(m.Lease, 16, 64)
	switch {
	case err != nil || id <= 0:
		return refuse("%q is no lease", m.Lease)
	}
	lease := clientv3.LeaseID(id)
	switch m.Do {
	case "forget":
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.told[lease] == p {
			delete(s.told, lease)
			delete(p.leases, lease)
		}
		return r
	case "tell":
	default:
		return refuse("%q: want tell or forget", m.Do)
	}
	if m.TTL <= 0 || m.TTL > 25*3600 || m.Namespace == "" || m.Secret == "" {
		return refuse("ttl, namespace or secret is missing, or too large")
	}
	bounded, cancel := context.WithTimeout(ctx, handshakeWithin)
	defer cancel()
	text, under, err := s.Cluster.Record(bounded, m.Namespace, lease)
	if err != nil {
		r.Retry = true
		return refuse("etcd cannot be asked whose it is: %v", err)
	}
	var record struct{ Witness string }
	if text == "" || under != lease || json.Unmarshal([]byte(text), &record) != nil || record.Witness == "" || record.Witness != Hash(m.Secret) {
		return refuse("no session under %q shows that secret", m.Namespace)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch before := s.told[lease]; {
	case !s.processes[p]:
		return refuse("process %d is dead", p.pid)
	case len(p.leases) >= mostLeases:
		return refuse("%d leases are told, which is the most", mostLeases)
	case before != nil && before != p && before.pid != p.pid:
		return refuse("process %d has told it already", before.pid)
	case before != nil && before != p: // over an earlier connection
		delete(before.leases, lease)
		s.part(before)
	}
	s.told[lease] = p
	p.leases[lease] = time.Duration(m.TTL * float64(time.Second))
	return r
}

// takeGroup takes a message about the process group of a child. It has to be one that the process may have ended itself: the witness ends it.
func (s *Server) takeGroup(p *process, m message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.Do == "ungroup" {
		if f := p.groups[m.Group]; f != nil {
			_ = f.Close()
			delete(p.groups, m.Group)
		}
		return nil
	}
	switch {
	case p.far:
		return errors.New("groups of another PID namespace are not known here")
	case m.Group <= 1 || len(p.groups) >= mostGroups:
		return fmt.Errorf("group %d is none, or one too many", m.Group)
	}
	fd, err := unix.PidfdOpen(m.Group, 0)
	if err != nil {
		return fmt.Errorf("group %d: %w", m.Group, err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	if !isChildsGroup(m.Group, p.pid) || isDead(uintptr(fd)) {
		_ = f.Close()
		return fmt.Errorf("group %d is not that of a child of process %d, under the same user", m.Group, p.pid)
	}
	if before := p.groups[m.Group]; before != nil {
		_ = before.Close()
	}
	p.groups[m.Group] = f
	return nil
}

// endGroups kills what runs in the groups of a dead process's children. By the pidfd of a group's first process it is that very group, whoever has
// the number by now; where the kernel cannot do that (before Linux 6.9), they are waited for.
func endGroups(groups map[int]*os.File) {
	for _, f := range groups {
		_ = unix.PidfdSendSignal(int(f.Fd()), unix.SIGKILL, nil, unix.PIDFD_SIGNAL_PROCESS_GROUP)
	}
}

// attend waits for the death of p, and settles its leases.
func (s *Server) attend(ctx context.Context, p *process) {
	defer s.settled(p)
	if !p.awaitDeath(ctx) {
		return
	}
	died, began := bootTime(), time.Now()
	s.mu.Lock()
	leases, groups := maps.Clone(p.leases), maps.Clone(p.groups)
	s.mu.Unlock()
	if len(leases) == 0 {
		return
	}
	for {
		a := after{guests: p.guests, link: p.link, since: died}
		if p.page != nil {
			a.page = p.page
		}
		if s.Orphans != nil {
			a.orphans = s.Orphans()
		}
		if !p.far {
			endGroups(groups)
			a.runs = anyRuns
		}
		v, pause := judge(a, bootTime())
		if v == revoke {
			break
		}
		longest := time.Duration(0)
		for _, ttl := range leases {
			longest = max(longest, ttl)
		}
		if v == leave || time.Since(began) > longest {
			s.Log.Info("a process is dead, and what it may have started is not known to be: its leases end by themselves", "pid", p.pid)
			return
		}
		time.Sleep(min(pause, time.Second))
	}
	s.Log.Info("a process is dead: its leases are revoked", "pid", p.pid, "leases", len(leases))
	var all sync.WaitGroup
	for lease, ttl := range leases {
		all.Go(func() { s.revoke(lease, began.Add(ttl)) })
	}
	all.Wait()
}

func (s *Server) settled(p *process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.processes, p)
	for lease := range p.leases {
		if s.told[lease] == p {
			delete(s.told, lease)
		}
	}
	p.stop()
	p.close()
	close(p.done)
}

// dead says whether the process is, without waiting.
func (p *process) dead() (dead bool) {
	raw, err := p.fd.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) { dead = isDead(fd) })
	return dead
}

func isDead(pidfd uintptr) bool {
	ready := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(ready, 0)
	return err == nil && n > 0 && ready[0].Revents&(unix.POLLIN|unix.POLLHUP) != 0
}

// awaitDeath returns false if ctx ends before p is dead.
func (p *process) awaitDeath(ctx context.Context) bool {
	raw, err := p.fd.SyscallConn()
	if err != nil {
		return false
	}
	defer context.AfterFunc(ctx, func() { _ = p.fd.SetReadDeadline(time.Unix(1, 0)) })()
	dead := false
	_ = raw.Read(func(fd uintptr) bool {
		dead = isDead(fd)
		return dead
	})
	return dead
}

// revoke tries until the lease must be over.
func (s *Server) revoke(lease clientv3.LeaseID, until time.Time) {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		err := s.Cluster.Revoke(ctx, lease)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(until) {
			s.Log.Warn("a lease of a dead process is not revoked, and must be over", "lease", fmt.Sprintf("%x", int64(lease)), "error", err)
			return
		}
		time.Sleep(pause)
	}
}

func bootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err) // it is there since Linux 2.6.39
	}
	return time.Duration(ts.Nano())
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
