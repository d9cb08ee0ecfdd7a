package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

// replicaVariable is set in a process that is a replica and not a test.
const replicaVariable = "CRONLEADER_TEST_REPLICA"

func TestMain(m *testing.M) {
	if os.Getenv(replicaVariable) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// service is three replicas, and what they say.
type service struct {
	*testing.T
	replicas map[string]*exec.Cmd
	said     chan [2]string // who, what
}

func start(t *testing.T) *service {
	t.Helper()
	s := &service{T: t, replicas: map[string]*exec.Cmd{}, said: make(chan [2]string, 1000)}
	endpoint := etcdtest.Start(t).Endpoint()
	for _, name := range []string{"a", "b", "c"} {
		cmd := exec.Command(os.Args[0], "-name", name)
		cmd.Env = append(os.Environ(), replicaVariable+"=1", "FENCELINE_ENDPOINTS="+endpoint)
		cmd.Stderr = os.Stderr
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		read := make(chan struct{})
		go func() {
			defer close(read)
			s.read(stdout)
		}()
		t.Cleanup(func() { cmd.Process.Kill(); <-read; cmd.Wait() })
		s.replicas[name] = cmd
	}
	return s
}

func (s *service) read(from io.Reader) {
	for lines := bufio.NewScanner(from); lines.Scan(); {
		who, what, _ := strings.Cut(lines.Text(), ": ")
		s.said <- [2]string{who, what}
	}
}

// until waits for the first line that is, and answers who says it.
func (s *service) until(within time.Duration, description string, is func(who, what string) bool) string {
	s.Helper()
	for deadline := time.After(within); ; {
		select {
		case line := <-s.said:
			if is(line[0], line[1]) {
				return line[0]
			}
		case <-deadline:
			s.Fatalf("not within %v: %s", within, description)
		}
	}
}

func (s *service) leader(within time.Duration) string {
	s.Helper()
	return s.until(within, "a leader", func(_, what string) bool { return strings.HasPrefix(what, "leads, token ") })
}

func (s *service) signal(who string, sig os.Signal) {
	s.Helper()
	if err := s.replicas[who].Process.Signal(sig); err != nil {
		s.Fatal(err)
	}
}

func TestKilledLeaderIsFollowed(t *testing.T) {
	s := start(t)
	first := s.leader(20 * time.Second)
	s.signal(first, syscall.SIGKILL)
	if second := s.leader(20 * time.Second); second == first {
		t.Errorf("%s leads, and was killed", second)
	}
}

func TestLeaderThatIsAskedToStopIsFollowedBeforeItsLeaseWouldHaveEnded(t *testing.T) {
	s := start(t)
	first := s.leader(20 * time.Second)
	s.signal(first, syscall.SIGTERM)
	s.leader(3 * time.Second)
}

func TestOnlyTheLeaderWorksAlsoWhenItWakesUpLate(t *testing.T) {
	s := start(t)
	first := s.leader(20 * time.Second)
	s.until(5*time.Second, "the leader works", func(who, what string) bool {
		if what == "works" && who != first {
			t.Errorf("%s works, though %s leads", who, first)
		}
		return what == "works"
	})
	s.signal(first, syscall.SIGSTOP)
	second := s.leader(20 * time.Second)
	s.signal(first, syscall.SIGCONT)
	s.until(5*time.Second, "the woken one stops", func(who, what string) bool {
		if what == "works" && who != second {
			t.Errorf("%s works, though %s leads", who, second)
		}
		return who == first && strings.HasPrefix(what, "leads no more: ")
	})
}

func TestEachReportIsPrintedOnceAndTheKilledAreNotMissed(t *testing.T) {
	s := start(t)
	printed := map[string]string{}
	reports := func(n int) (by string) {
		return s.until(30*time.Second, "reports", func(who, what string) bool {
			if !strings.HasPrefix(what, "report of ") {
				return false
			}
			if other, twice := printed[what]; twice {
				t.Errorf("%q by %s and %s", what, other, who)
			}
			printed[what] = who
			n--
			return n == 0
		})
	}
	s.signal(reports(2), syscall.SIGKILL)
	s.signal(reports(2), syscall.SIGKILL)
	reports(2)
}
