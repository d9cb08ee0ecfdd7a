package lock_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// TestMain is also the holder of TestStoppedHolder…: a process of its own, to be stopped.
func TestMain(m *testing.M) {
	if endpoint := os.Getenv("LOCK_TEST_HOLDER"); endpoint != "" {
		if err := holdAndWrite(endpoint, os.Getenv("LOCK_TEST_NAME")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// contenders is a crowd that takes turns, and what it has seen.
type contenders struct {
	inside, last, rounds atomic.Int64
	each                 []atomic.Int64
	wg                   sync.WaitGroup
	stop                 context.CancelFunc
}

// contend has n sessions, each on a connection of its own, take the lock again and again until halt. Losing it is
// part of the game; overlapping while neither has been told of a loss is not, nor is a token that does not grow.
func contend(t *testing.T, n int, name string, client func() *clientv3.Client, opts ...session.Option) *contenders {
	ctx, stop := context.WithCancel(t.Context())
	c := &contenders{each: make([]atomic.Int64, n), stop: stop}
	for i := range n {
		m := lock.New(open(t, client(), opts...), name)
		c.wg.Go(func() {
			for ctx.Err() == nil {
				l, err := m.Acquire(ctx)
				if err != nil {
					if ctx.Err() == nil {
						t.Errorf("Acquire: %v", err)
					}
					return
				}
				c.turn(t, l)
				c.each[i].Add(1)
				c.rounds.Add(1)
				if err := l.Release(context.Background()); err != nil && !errors.Is(err, session.ErrLost) {
					t.Errorf("Release: %v", err)
				}
			}
		})
	}
	return c
}

func (c *contenders) turn(t *testing.T, l *lock.Lock) {
	token := int64(l.Token())
	if c.inside.Add(1) != 1 && l.Context().Err() == nil {
		t.Error("two inside, and this one believes in its hold")
	}
	if last := c.last.Swap(token); last >= token {
		t.Errorf("token %d after %d", token, last)
	}
	c.inside.Add(-1)
}

// goOn waits until every contender has had n turns more.
func (c *contenders) goOn(t *testing.T, within time.Duration, n int64) {
	t.Helper()
	before := make([]int64, len(c.each))
	for i := range c.each {
		before[i] = c.each[i].Load()
	}
	etcdtest.Eventually(t, within, fmt.Sprintf("%d more turns for everybody", n), func() bool {
		for i := range c.each {
			if c.each[i].Load() < before[i]+n {
				return false
			}
		}
		return true
	})
}

func (c *contenders) halt() { c.stop(); c.wg.Wait() }

func TestCompactionDisturbsNobody(t *testing.T) {
	m := etcdtest.Start(t)
	name, admin := etcdtest.Name(t), m.Client(t)
	c := contend(t, 8, name, func() *clientv3.Client { return m.Client(t) })
	every := time.NewTicker(50 * time.Millisecond)
	defer every.Stop()
	for range 20 {
		<-every.C
		etcdtest.Compact(t, admin)
	}
	c.goOn(t, 10*time.Second, 3)
	c.halt()
	queued(t, admin, name, 0)
}

func TestEtcdKilledAndRestartedWhileTheyWait(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	name := etcdtest.Name(t)
	c := contend(t, 8, name, func() *clientv3.Client { return m.Client(t) }, session.WithTTL(5*time.Second))
	for range 2 {
		c.goOn(t, 20*time.Second, 3)
		m.Kill()
		m.Restart(t)
	}
	c.goOn(t, 20*time.Second, 3)
	c.halt()
	queued(t, m.Client(t), name, 0)
}

func TestLeaderOfThreeMembersKilledWhileTheyWait(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.StartCluster(t, 3)
	name := etcdtest.Name(t)
	c := contend(t, 8, name, func() *clientv3.Client { return cluster.Client(t) }, session.WithTTL(5*time.Second))
	c.goOn(t, 20*time.Second, 3)
	leader := cluster.Leader(t)
	leader.Kill()
	c.goOn(t, 30*time.Second, 3)
	leader.Restart(t)
	c.goOn(t, 30*time.Second, 3)
	c.halt()
	queued(t, cluster.Client(t), name, 0)
}

func TestWaiterGoesOnWhenItsConnectionIsReset(t *testing.T) {
	t.Parallel()
	m := etcdtest.Shared(t)
	name := etcdtest.Name(t)
	p := etcdtest.NewProxy(t, m)
	l := acquire(t, lock.New(open(t, m.Client(t)), name))
	got := acquiring(t, lock.New(open(t, p.Client(t), session.WithTTL(30*time.Second)), name))
	queued(t, m.Client(t), name, 2)
	p.Blackhole()
	release(t, l)
	p.Cut()
	p.Heal()
	select {
	case l := <-got:
		release(t, l)
	case <-time.After(30 * time.Second):
		t.Fatal("still waiting")
	}
}

// holdAndWrite is the process that is stopped: it holds, and writes to a resource elsewhere, over its stdin and stdout.
func holdAndWrite(endpoint, name string) error {
	ctx := context.Background()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		return err
	}
	defer client.Close()
	s, err := session.Open(ctx, client, session.WithTTL(2*time.Second))
	if err != nil {
		return err
	}
	l, err := lock.New(s, name).Acquire(ctx)
	if err != nil {
		return err
	}
	fmt.Println("token", l.Token())
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		switch lines.Text() {
		case "write": // without looking, as a program does that was stopped between its look and its write
			fmt.Println("write", l.Token())
		case "first call":
			fmt.Println("first call:", context.Cause(l.Context()), "/", l.Context().Err())
		case "release":
			fmt.Println("release:", l.Release(ctx))
		}
	}
	return s.Close(ctx)
}

// holder is such a process, seen from outside.
type holder struct {
	cmd *exec.Cmd
	in  *os.File
	out *bufio.Scanner
}

func startHolder(t *testing.T, endpoint, name string) *holder {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), "LOCK_TEST_HOLDER="+endpoint, "LOCK_TEST_NAME="+name)
	cmd.Stderr = os.Stderr
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = r
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGCONT)
		w.Close() // it ends when its stdin does
		if err := cmd.Wait(); err != nil {
			t.Errorf("holder: %v", err)
		}
	})
	return &holder{cmd, w, bufio.NewScanner(out)}
}

func (h *holder) hears(t *testing.T) string {
	t.Helper()
	if !h.out.Scan() {
		t.Fatalf("the holder says nothing more: %v", h.out.Err())
	}
	return h.out.Text()
}

func (h *holder) ask(t *testing.T, what string) string {
	t.Helper()
	if _, err := fmt.Fprintln(h.in, what); err != nil {
		t.Fatal(err)
	}
	return h.hears(t)
}

func tokenIn(t *testing.T, text string) fence.Token {
	t.Helper()
	_, number, _ := strings.Cut(text, " ")
	token, err := fence.Parse(number)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestStoppedHolderIsFencedAndLearnsOfTheLoss(t *testing.T) {
	t.Parallel()
	m := etcdtest.Shared(t)
	name := etcdtest.Name(t)
	var gate fence.Gate
	writes := 0
	write := func(token fence.Token) error { return gate.Do(name, token, func() error { writes++; return nil }) }

	for _, question := range []string{"first call", "release"} {
		h := startHolder(t, m.Endpoint(), name)
		if err := write(tokenIn(t, h.hears(t))); err != nil {
			t.Fatal(err)
		}
		if err := h.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		next := acquire(t, lock.New(open(t, m.Client(t)), name)) // once the TTL is over
		if err := write(next.Token()); err != nil {
			t.Fatal(err)
		}
		if err := h.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if text := h.ask(t, question); !strings.Contains(text, session.ErrExpired.Error()) && !strings.Contains(text, session.ErrRevoked.Error()) {
			t.Errorf("the first thing it hears after waking: %q", text)
		}
		before := writes
		for range 3 {
			if err := write(tokenIn(t, h.ask(t, "write"))); !errors.Is(err, fence.ErrStale) {
				t.Errorf("write of the woken holder: %v", err)
			}
		}
		if writes != before {
			t.Error("a refused write has happened")
		}
		release(t, next)
	}
}
