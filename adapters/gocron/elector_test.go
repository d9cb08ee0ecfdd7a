package gocron_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-co-op/gocron/v2"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

var _ gocron.Elector = (*election.Election)(nil)

const (
	ttl   = 2 * time.Second
	every = time.Second

	// Name the etcd and the election, in a process that is one of several schedulers and not a test.
	endpointVariable, nameVariable = "GOCRON_TEST_ENDPOINT", "GOCRON_TEST_ELECTION"
)

// asked is an Election that says what it answers.
type asked struct{ *election.Election }

func (a asked) IsLeader(ctx context.Context) error {
	err := a.Election.IsLeader(ctx)
	if err != nil {
		fmt.Println("refused 0")
	}
	return err
}

// schedule is one process: it stands for election, and has a job that is to run once a second in one of them.
func schedule(endpoint, name string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer client.Close()
	s, err := session.Open(ctx, client, session.WithTTL(ttl))
	if err != nil {
		return err
	}
	defer s.Close(context.Background())

	e := election.New(s, name)
	scheduler, err := gocron.NewScheduler(gocron.WithDistributedElector(asked{e}))
	if err != nil {
		return err
	}
	first := time.Now().Truncate(every).Add(2 * every)
	_, err = scheduler.NewJob(gocron.DurationJob(every), gocron.NewTask(func() {
		const early = 50 * time.Millisecond
		fmt.Println("ran", time.Now().Add(early).Truncate(every).Unix())
	}), gocron.WithStartAt(gocron.WithStartDateTime(first)))
	if err != nil {
		return err
	}
	scheduler.Start()
	defer scheduler.Shutdown()
	err = e.Lead(ctx, strconv.Itoa(os.Getpid()), func(ctx context.Context, _ *election.Term) error {
		<-ctx.Done()
		return nil
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// line is what a scheduler's process says: that it ran the job for a tick, or that it was not to.
type line struct {
	by   int // which process
	what string
	tick int64
}

type fleet struct {
	*testing.T
	processes []*exec.Cmd
	said      chan line
	ran       map[int64][]int // by which processes, for each tick
	latest    int             // who ran last
}

func startFleet(t *testing.T, n int) *fleet {
	t.Helper()
	f := &fleet{T: t, said: make(chan line, 1000), ran: map[int64][]int{}, latest: -1}
	endpoint, name := etcdtest.Shared(t).Endpoint(), etcdtest.Name(t)
	for i := range n {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), endpointVariable+"="+endpoint, nameVariable+"="+name)
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
			f.read(i, stdout)
		}()
		t.Cleanup(func() { cmd.Process.Kill(); <-read; cmd.Wait() })
		f.processes = append(f.processes, cmd)
	}
	return f
}

func (f *fleet) read(by int, from io.Reader) {
	for lines := bufio.NewScanner(from); lines.Scan(); {
		what, rest, _ := strings.Cut(lines.Text(), " ")
		tick, _ := strconv.ParseInt(rest, 10, 64)
		f.said <- line{by, what, tick}
	}
}

// until hears what the processes say until done is content with a line. No tick may be run twice.
func (f *fleet) until(what string, done func(line) bool) {
	f.Helper()
	for deadline := time.After(30 * time.Second); ; {
		select {
		case l := <-f.said:
			if l.what == "ran" {
				f.ran[l.tick] = append(f.ran[l.tick], l.by)
				f.latest = l.by
				if by := f.ran[l.tick]; len(by) > 1 {
					f.Errorf("the tick at %d was run by processes %v", l.tick, by)
				}
			}
			if done(l) {
				return
			}
		case <-deadline:
			f.Fatalf("not within 30 s: %s", what)
		}
	}
}

// runs waits until a process that want takes has run n ticks, which follow each other.
func (f *fleet) runs(what string, n int, want func(by int) bool) {
	f.Helper()
	count := 0
	f.until(what, func(l line) bool {
		if l.what == "ran" && want(l.by) {
			count++
		}
		return count == n
	})
}

func (f *fleet) signal(i int, s os.Signal) {
	f.Helper()
	if err := f.processes[i].Process.Signal(s); err != nil {
		f.Fatal(err)
	}
}

// A stopped process still believes that it leads when it wakes up, as far as any timer or goroutine has told it.
func TestOneOfThreeSchedulersRunsTheJobAndAWokenOneDoesNot(t *testing.T) {
	f := startFleet(t, 3)
	f.runs("a leader runs the job", 2, func(int) bool { return true })
	leader := f.latest
	for tick, by := range f.ran {
		if by[0] != leader {
			t.Errorf("tick %d was run by %d, though %d leads", tick, by[0], leader)
		}
	}

	f.signal(leader, syscall.SIGSTOP) // right after a run: until the next tick it has nothing to do
	f.runs("another runs the job", 2, func(by int) bool { return by != leader })
	second := f.latest

	f.signal(leader, syscall.SIGCONT) // right after a run by the other: its own overdue one would be for the same tick
	f.until("the woken one is told that it does not lead", func(l line) bool {
		if l.by == leader && l.what == "ran" {
			t.Fatalf("the woken process %d ran the job at tick %d", leader, l.tick)
		}
		return l.by == leader && l.what == "refused"
	})
	f.runs("the second goes on", 2, func(by int) bool {
		if by != second {
			t.Errorf("%d ran the job, though %d leads", by, second)
		}
		return by == second
	})
}
