package witness

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

// records is an etcd with the records that it is given.
type records struct {
	mu      sync.Mutex
	records map[clientv3.LeaseID]string
	revoked map[clientv3.LeaseID]time.Time
	away    bool
	asked   int
}

func (c *records) Record(_ context.Context, namespace string, lease clientv3.LeaseID) (string, clientv3.LeaseID, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away {
		return "", 0, errors.New("away")
	}
	if namespace != "fenceline/" || c.records[lease] == "" {
		return "", 0, nil
	}
	return c.records[lease], lease, nil
}

func (c *records) Revoke(_ context.Context, lease clientv3.LeaseID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	if c.away {
		return errors.New("away")
	}
	c.revoked[lease] = time.Now()
	return nil
}

func (c *records) when(lease clientv3.LeaseID) (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.revoked[lease]
	return at, ok
}

func (c *records) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func serve(t *testing.T, orphans func() Orphans) (*Server, *records, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "witness")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	c := &records{records: map[clientv3.LeaseID]string{}, revoked: map[clientv3.LeaseID]time.Time{}}
	for lease := clientv3.LeaseID(1); lease < 2000; lease++ {
		c.records[lease] = fmt.Sprintf(`{"name":"x","witness":%q}`, Hash("secret"))
	}
	s := &Server{Cluster: c, Log: slog.New(slog.DiscardHandler), Orphans: orphans}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, c, path
}

// The test binary is also a process that tells, and is killed: FENCELINE_TEST_TELL is the socket, and what to do is read from its input.
func TestMain(m *testing.M) {
	if path := os.Getenv("FENCELINE_TEST_TELL"); path != "" {
		tellFor(path)
		return
	}
	os.Exit(m.Run())
}

func tellFor(path string) {
	one, err := NewTeller(path, "fenceline/", "secret", slog.New(slog.NewTextHandler(os.Stdout, nil)))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	go one.Run(context.Background())
	in, last := bufio.NewScanner(os.Stdin), 0
	for in.Scan() {
		var n int
		switch words := strings.Fields(in.Text()); words[0] {
		case "tell":
			_, _ = fmt.Sscan(words[1], &n)
			one.Add(fmt.Sprintf("%x", n), time.Minute)
		case "forget":
			_, _ = fmt.Sscan(words[1], &n)
			one.Remove(fmt.Sprintf("%x", n))
		case "children":
			_, _ = fmt.Sscan(words[1], &n)
			err = one.Page().Children(n)
		case "start": // a child whose children outlive it
			child := exec.Command("sh", "-c", "sleep 60 & (trap '' TERM; sleep 60) & sleep 60")
			child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
			if err = child.Start(); err == nil {
				err = one.Group(child.Process.Pid, false)
				last = child.Process.Pid
			}
		case "next": // its child has ended, and another one is being started, and no message of that has got through
			err = one.Page().Group(last, true)
		case "until": // so many milliseconds from now
			_, _ = fmt.Sscan(words[1], &n)
			err = one.Page().Until(bootTime() + time.Duration(n)*time.Millisecond)
		}
		fmt.Println("done", err)
	}
}

type teller struct {
	*exec.Cmd
	in  io.Writer
	out *bufio.Reader
}

func startTeller(t *testing.T, path string) *teller {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "FENCELINE_TEST_TELL="+path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &teller{cmd, in, bufio.NewReader(out)}
}

func (p *teller) do(t *testing.T, order string) {
	t.Helper()
	if _, err := fmt.Fprintln(p.in, order); err != nil {
		t.Fatal(err)
	}
	for {
		line, err := p.out.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(line, "done") {
			if line != "done <nil>\n" {
				t.Fatal(line)
			}
			return
		}
	}
}

func (p *teller) kill(t *testing.T) {
	t.Helper()
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
}

func told(t *testing.T, s *Server, n int) {
	t.Helper()
	etcdtest.Eventually(t, 10*time.Second, fmt.Sprintf("%d leases are told", n), func() bool { return s.Told() == n })
}

func TestLeasesOfADeadProcessAreRevokedAndThoseItHasForgottenNot(t *testing.T) {
	s, c, path := serve(t, nil)
	p := startTeller(t, path)
	for _, order := range []string{"tell 1", "tell 2", "tell 3"} {
		p.do(t, order)
	}
	told(t, s, 3)
	p.do(t, "forget 2")
	told(t, s, 2)
	p.kill(t)
	etcdtest.Eventually(t, 5*time.Second, "1 and 3 are revoked", func() bool {
		_, one := c.when(1)
		_, three := c.when(3)
		return one && three
	})
	if _, two := c.when(2); two {
		t.Error("2 is revoked")
	}
	told(t, s, 0)
}

func TestNothingIsRevokedBeforeOthersMayNotActAnyMore(t *testing.T) {
	s, c, path := serve(t, nil)
	p := startTeller(t, path)
	p.do(t, "tell 1")
	told(t, s, 1)
	p.do(t, "until 2000")
	began := time.Now()
	p.kill(t)
	etcdtest.Eventually(t, 10*time.Second, "it is revoked", func() bool { _, ok := c.when(1); return ok })
	if at, _ := c.when(1); at.Sub(began) < 1900*time.Millisecond {
		t.Errorf("revoked %v after others were told that they may act for 2 s", at.Sub(began))
	}
}

func TestChildsGroupIsWaitedFor(t *testing.T) {
	s, c, path := serve(t, nil)
	p := startTeller(t, path)
	p.do(t, "tell 1")
	told(t, s, 1)
	p.do(t, "children 1")
	p.do(t, "start")
	etcdtest.Eventually(t, 5*time.Second, "the group is told", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for p := range s.processes {
			return len(p.groups) == 1
		}
		return false
	})
	var group []int
	s.mu.Lock()
	for p := range s.processes {
		group = slices.Collect(maps.Keys(p.groups))
	}
	s.mu.Unlock()
	p.kill(t)
	etcdtest.Eventually(t, 5*time.Second, "it is revoked", func() bool { _, ok := c.when(1); return ok })
	if anyRuns(group) {
		t.Error("it was revoked while a child ran")
	}
}

// What the page says counts, and not what was told of earlier children: a message may be under way at the death.
func TestChildOfWhichNobodyIsToldYetIsNotTakenForAnEarlierOne(t *testing.T) {
	s, c, path := serve(t, nil)
	p := startTeller(t, path)
	for _, order := range []string{"tell 1", "children 1", "start", "next"} {
		p.do(t, order)
	}
	told(t, s, 1)
	etcdtest.Eventually(t, 5*time.Second, "the earlier group is told", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for p := range s.processes {
			return len(p.groups) == 1
		}
		return false
	})
	p.kill(t)
	told(t, s, 0) // it is settled
	if _, ok := c.when(1); ok {
		t.Error("the lease was revoked, and a child may act under it")
	}
}

// A process cannot have another's children killed by dying.
func TestGroupThatIsNotOfAChildIsRefused(t *testing.T) {
	_, _, path := serve(t, nil)
	conn := greeted(t, path)
	theirs := exec.Command("sh", "-c", "sleep 60 & wait") // its child leads no group
	theirs.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := theirs.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = theirs.Process.Kill(); _ = theirs.Wait() })
	other := startTeller(t, path) // a child of this process, that leads no group
	for _, group := range []int{0, 1, -1, os.Getppid(), other.Process.Pid, 1 << 30} {
		if err := send(conn, message{Do: "group", Group: group}, nil); err != nil {
			t.Fatal(err)
		}
		if r, err := receiveReply(conn); err != nil || r.Error == "" {
			t.Errorf("group %d: %+v, %v", group, r, err)
		}
	}
	if err := send(conn, message{Do: "group", Group: theirs.Process.Pid}, nil); err != nil { // this one is of a child
		t.Fatal(err)
	}
	if r, err := receiveReply(conn); err != nil || r.Error != "" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestEtcdThatIsAwayIsAskedUntilItIsBack(t *testing.T) {
	s, c, path := serve(t, nil)
	p := startTeller(t, path)
	p.do(t, "tell 1")
	told(t, s, 1)
	c.set(func() { c.away = true })
	p.kill(t)
	etcdtest.Eventually(t, 5*time.Second, "it is asked again and again", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.asked >= 3 })
	c.set(func() { c.away = false })
	etcdtest.Eventually(t, 5*time.Second, "it is revoked", func() bool { _, ok := c.when(1); return ok })
}

func TestLeaseIsToldOnceEtcdIsThere(t *testing.T) {
	s, c, path := serve(t, nil)
	c.set(func() { c.away = true })
	p := startTeller(t, path)
	p.do(t, "tell 1")
	etcdtest.Eventually(t, 5*time.Second, "a connection", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.processes) == 1 })
	c.set(func() { c.away = false })
	told(t, s, 1)
}

func TestVerdicts(t *testing.T) {
	page := func(children int, until time.Duration, groups ...int) io.ReaderAt {
		p, err := newPage()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.file.Close() })
		if err := errors.Join(p.Children(children), p.Until(until)); err != nil {
			t.Fatal(err)
		}
		for _, g := range groups {
			if err := p.Group(g, false); err != nil {
				t.Fatal(err)
			}
		}
		return p.file
	}
	runs, none := func([]int) bool { return true }, func([]int) bool { return false }
	const now = 100 * time.Second
	for _, test := range []struct {
		what string
		of   after
		want verdict
		wait time.Duration
	}{
		{"nothing may act", after{page: page(0, 0)}, revoke, 0},
		{"no page, no guests", after{}, revoke, 0},
		{"guests, and no page", after{guests: true, link: 3 * time.Second, since: 99 * time.Second}, wait, 2030 * time.Millisecond},
		{"guests, and no page, long ago", after{guests: true, link: 3 * time.Second, since: 90 * time.Second}, revoke, 0},
		{"others may act", after{page: page(0, 102*time.Second)}, wait, 2 * time.Second},
		{"others might have", after{page: page(0, 99*time.Second)}, revoke, 0},
		{"children, of whom nobody knows", after{page: page(1, 0)}, leave, 0},
		{"children, who run", after{page: page(1, 0), orphans: Alive}, wait, 20 * time.Millisecond},
		{"a child whose group runs", after{page: page(1, 0, 7), runs: runs}, wait, 20 * time.Millisecond},
		{"a child whose group is empty", after{page: page(1, 0, 7), runs: none}, revoke, 0},
		{"a child whose group is empty, while others may act", after{page: page(1, 101*time.Second, 7), runs: none}, wait, time.Second},
		{"a child whose group has another number here", after{page: page(1, 0, 7)}, leave, 0},
		{"two children, and the group of one", after{page: page(2, 0, 7), runs: none}, leave, 0},
		{"a child that is being started", after{page: page(1, 0), runs: none}, leave, 0},
		{"children, who are gone", after{page: page(1, 0), orphans: Gone}, revoke, 0},
		{"children who were not told of", after{page: page(0, 0), orphans: Alive}, wait, 20 * time.Millisecond},
		{"handed on", after{page: page(HandedOn, 0)}, leave, 0},
		{"handed on, and all children gone", after{page: page(HandedOn, 0), orphans: Gone}, leave, 0},
		{"no page, and children run", after{orphans: Alive}, wait, 20 * time.Millisecond},
		{"a page of garbage", after{page: strings.NewReader("garbage")}, leave, 0},
		{"a page of other garbage", after{page: strings.NewReader(strings.Repeat("x", 64))}, leave, 0},
	} {
		if v, pause := judge(test.of, now); v != test.want || pause != test.wait {
			t.Errorf("%s: %v, %v; want %v, %v", test.what, v, pause, test.want, test.wait)
		}
	}
}

// hand speaks the protocol by hand.
func hand(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	conn, err := net.Dial("unixpacket", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn.(*net.UnixConn)
}

func greeted(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	conn := hand(t, path)
	if err := send(conn, message{Do: "hello", PID: os.Getpid()}, nil); err != nil {
		t.Fatal(err)
	}
	r, err := receiveReply(conn)
	if err != nil || r.Challenge == "" {
		t.Fatalf("%+v, %v", r, err)
	}
	if err := send(conn, message{Do: "here", Nonce: r.Challenge}, nil); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestWhatIsNoLeaseOfTheOneWhoTellsIsRefused(t *testing.T) {
	s, c, path := serve(t, nil)
	c.set(func() { c.records[9] = `{"name":"old"}`; c.records[10] = "garbage" })
	conn := greeted(t, path)
	good := message{Do: "tell", Namespace: "fenceline/", Lease: "1", Secret: "secret", TTL: 10}
	for want, change := range map[string]func(*message){
		"shows that secret":      func(m *message) { m.Secret = "guessed" },
		`under "other/"`:         func(m *message) { m.Namespace = "other/" },
		`no session under "fen`:  func(m *message) { m.Lease = "fffff" },
		"shows that secre":       func(m *message) { m.Lease = "9" },
		"shows that secr":        func(m *message) { m.Lease = "a" },
		`"xyz" is no lease`:      func(m *message) { m.Lease = "xyz" },
		`"-1" is no lease`:       func(m *message) { m.Lease = "-1" },
		`"0" is no lease`:        func(m *message) { m.Lease = "0" },
		"is missing":             func(m *message) { m.TTL = 0 },
		"is missing, or too":     func(m *message) { m.TTL = 1e12 },
		`"destroy": want tell`:   func(m *message) { m.Do = "destroy" },
		"namespace or secret is": func(m *message) { m.Secret = "" },
	} {
		m := good
		change(&m)
		if err := send(conn, m, nil); err != nil {
			t.Fatal(err)
		}
		if r, err := receiveReply(conn); err != nil || !strings.Contains(r.Error, want) {
			t.Errorf("%+v: %+v, %v; want %q", m, r, err, want)
		}
	}
	if s.Told() != 0 {
		t.Errorf("%d leases are told", s.Told())
	}
	if err := send(conn, good, nil); err != nil {
		t.Fatal(err)
	}
	if r, err := receiveReply(conn); err != nil || r.Error != "" {
		t.Errorf("%+v, %v", r, err)
	}
	// Another process cannot have it forgotten, nor tell it.
	other := startTeller(t, path)
	other.do(t, "tell 1")
	other.do(t, "forget 1")
	other.do(t, "tell 2")
	told(t, s, 2)
	other.kill(t)
	etcdtest.Eventually(t, 5*time.Second, "the other's is revoked", func() bool { _, ok := c.when(2); return ok })
	if _, ok := c.when(1); ok {
		t.Error("the death of another process had a lease revoked")
	}
	told(t, s, 1)
}

func TestGarbageEndsTheConnectionAndNothingElse(t *testing.T) {
	s, c, path := serve(t, nil)
	for what, text := range map[string][]byte{"no JSON": []byte("hello"), "empty": {}, "too long": []byte(`{"do":"hello","nonce":"` + strings.Repeat("x", 2*mostBytes) + `"}`),
		"another beginning": []byte(`{"do":"tell","lease":"1"}`), "another type": []byte(`{"do":7}`), "an odd link": []byte(`{"do":"hello","link":-1}`)} {
		conn := hand(t, path)
		if _, err := conn.Write(text); err != nil && what != "too long" {
			t.Fatal(err)
		}
		if r, err := receiveReply(conn); err == nil && r.Error == "" {
			t.Errorf("%s: %+v", what, r)
		}
	}
	for what, file := range map[string]func() (*os.File, error){
		"a plain file": func() (*os.File, error) { return os.Create(filepath.Join(t.TempDir(), "x")) },
		"a file without seals": func() (*os.File, error) {
			fd, err := unix.MemfdCreate("x", 0)
			return os.NewFile(uintptr(fd), "x"), err
		},
	} {
		f, err := file()
		if err != nil {
			t.Fatal(err)
		}
		conn := hand(t, path)
		if err := send(conn, message{Do: "hello"}, unix.UnixRights(int(f.Fd()))); err != nil {
			t.Fatal(err)
		}
		if r, err := receiveReply(conn); err != nil || !strings.Contains(r.Error, "page") {
			t.Errorf("%s for a page: %+v, %v", what, r, err)
		}
		f.Close()
	}
	conn := hand(t, path)
	if err := send(conn, message{Do: "hello"}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := receiveReply(conn); err != nil {
		t.Fatal(err)
	}
	if err := send(conn, message{Do: "here", Nonce: "guessed"}, nil); err != nil {
		t.Fatal(err)
	}
	if r, err := receiveReply(conn); err != nil || !strings.Contains(r.Error, "challenge") {
		t.Errorf("%+v, %v", r, err)
	}
	p := startTeller(t, path) // it still serves
	p.do(t, "tell 5")
	told(t, s, 1)
	c.set(func() {
		if len(c.revoked) != 0 {
			t.Errorf("revoked: %v", c.revoked)
		}
	})
}

// The kernel's word counts, not who has made the connection.
func TestProcessThatTellsOverTheConnectionOfAnotherIsRefused(t *testing.T) {
	s, _, path := serve(t, nil)
	conn := greeted(t, path)
	file, err := conn.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	text, err := json.Marshal(message{Do: "tell", Namespace: "fenceline/", Lease: "1", Secret: "secret", TTL: 10})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `printf %s "$0" >&3`, string(text))
	cmd.ExtraFiles = []*os.File{file}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if r, err := receiveReply(conn); err != nil || !strings.Contains(r.Error, "has said hello") {
		t.Errorf("%+v, %v", r, err)
	}
	if s.Told() != 0 {
		t.Error("it is told")
	}
}

func TestTenThousandConnectionsAreBounded(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 3*mostConnections {
		t.Skipf("only %d files may be open", limit.Cur)
	}
	s, _, path := serve(t, nil)
	refused := 0
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for range 10_000 {
		conn, err := net.Dial("unixpacket", path)
		if err != nil {
			refused++ // the kernel's queue is full
			time.Sleep(time.Millisecond)
			continue
		}
		open = append(open, conn)
	}
	etcdtest.Eventually(t, 10*time.Second, "the rest is refused", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.meeting+len(s.processes) <= mostConnections })
	if n := runtime.NumGoroutine(); n > 3*mostConnections {
		t.Errorf("%d goroutines", n)
	}
	for _, c := range open {
		c.Close()
	}
	p := startTeller(t, path) // there is room again
	p.do(t, "tell 1")
	told(t, s, 1)
}
