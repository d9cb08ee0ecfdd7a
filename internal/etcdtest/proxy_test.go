package etcdtest

import (
	"context"
	"errors"
	"io"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestCutLastsUntilHeal(t *testing.T) {
	p := NewProxy(t, Shared(t))
	client := p.Client(t)
	name := Name(t)
	mustPut(t, client, name)
	for range 3 {
		p.Cut()
		unanswered(t, func(ctx context.Context) error { return put(ctx, client, name) })
		p.Heal()
		mustPut(t, client, name)
	}
}

func TestBlackholeHoldsBackUntilHeal(t *testing.T) {
	m := Shared(t)
	p := NewProxy(t, m)
	client, name := p.Client(t), Name(t)
	mustPut(t, client, name)
	p.Blackhole()
	done := make(chan error)
	go func() { done <- put(t.Context(), client, name+"-late") }()
	unanswered(t, func(ctx context.Context) error { return put(ctx, client, name) })
	if keys := Keys(t, m.Client(t), name+"-late"); len(keys) > 0 {
		t.Errorf("the server knows %q", keys)
	}
	p.Heal()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestDroppedAnswersAreOfRequestsThatWereDone(t *testing.T) {
	m := Shared(t)
	p := NewProxy(t, m)
	client, name := p.Client(t), Name(t)
	mustPut(t, client, name)
	p.DropAnswers()
	unanswered(t, func(ctx context.Context) error { return put(ctx, client, name+"-done") })
	if keys := Keys(t, m.Client(t), name+"-done"); len(keys) != 1 {
		t.Errorf("the server knows %q", keys)
	}
	p.Heal()
	Eventually(t, requestTimeout, "an answer on a new connection", func() bool { return put(t.Context(), client, name) == nil })
}

func TestDelayIsEachWay(t *testing.T) {
	p := NewProxy(t, Shared(t))
	client, name := p.Client(t), Name(t)
	mustPut(t, client, name)
	p.Delay(50 * time.Millisecond)
	start := time.Now()
	mustPut(t, client, name)
	if took := time.Since(start); took < 100*time.Millisecond {
		t.Errorf("answered after %v", took)
	}
}

func TestBandwidthIsALimit(t *testing.T) {
	p := NewProxy(t, Shared(t))
	client, name := p.Client(t), Name(t)
	mustPut(t, client, name)
	p.Bandwidth(1 << 20)
	start := time.Now()
	if _, err := client.Put(t.Context(), name, strings.Repeat("x", 200<<10)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 190*time.Millisecond {
		t.Errorf("200 KiB took %v at 1 MiB/s", took)
	}
}

func TestKilledMemberIsARefusalBehindTheProxy(t *testing.T) {
	m := Start(t)
	p := NewProxy(t, m)
	client := p.Client(t)
	mustPut(t, client, "a")
	m.Kill()
	unanswered(t, func(ctx context.Context) error { return put(ctx, client, "b") })
	m.Restart(t)
	mustPut(t, client, "c")
}

// dialProxy is a connection on which the member has answered.
func dialProxy(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", p.port.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ask(t, conn)
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func ask(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := conn.Write([]byte("GET /health HTTP/1.1\r\nHost: any\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
}

func wantReset(t *testing.T, conn net.Conn) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(requestTimeout))
	if _, err := io.Copy(io.Discard, conn); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection ended with %v", err)
	}
}

func TestCutResetsConnectionsAndRefusesNewOnes(t *testing.T) {
	p := NewProxy(t, Shared(t))
	conn := dialProxy(t, p)
	p.Cut()
	wantReset(t, conn)
	if _, err := net.Dial("tcp", p.port.String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a new one ended with %v", err)
	}
}

func TestHealResetsConnectionsThatLostAnswers(t *testing.T) {
	p := NewProxy(t, Shared(t))
	lossy, whole := dialProxy(t, p), dialProxy(t, p)
	p.DropAnswers()
	ask(t, lossy)
	Eventually(t, requestTimeout, "an answer that is lost", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for c := range p.conns {
			if c.lossy {
				return true
			}
		}
		return false
	})
	p.Heal()
	wantReset(t, lossy)
	ask(t, whole)
}

// A port that was refused is there again though processes are started all the while.
func TestCutAndHealWhileProcessesStart(t *testing.T) {
	p := NewProxy(t, Shared(t))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				_ = exec.Command("true").Run()
			}
		}
	}()
	for range 500 {
		p.Cut()
		p.Heal()
		if t.Failed() {
			break
		}
	}
	close(stop)
	<-done
}
