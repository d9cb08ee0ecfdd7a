package sqlfence

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// The case a lock alone cannot help with: a holder that is stopped for longer than its lease lives, and wakes up with its
// next write already decided.
func TestHolderStoppedBeyondItsLeaseWritesNothingWhenItWakes(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		db, name := withTable(t, d), etcdtest.Name(t)
		endpoint := etcdtest.Shared(t).Endpoint()

		first := startHolder(t, d, endpoint, name)
		older := first.says(t, "token ")
		first.told(t, "add", "added")

		first.signal(t, syscall.SIGSTOP)
		first.tell(t, "add\nadd") // it sees them when it wakes, before it can notice its loss
		second := startHolder(t, d, endpoint, name)
		if newer := second.says(t, "token "); newer == older {
			t.Fatalf("both hold %s", older)
		}
		second.told(t, "add", "added")

		first.signal(t, syscall.SIGCONT)
		first.says(t, "stale")
		first.says(t, "stale")
		second.told(t, "add", "added")
		if n := count(t, db); n != 3 {
			t.Errorf("the counter is %d, three adds went through", n)
		}
	})
}

// holdAndCount is the process of such a holder: it acquires, then adds as often as stdin says, without a look at its lock.
func holdAndCount() error {
	ctx := context.Background()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{os.Getenv("SQLFENCE_HOLDER")}, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer client.Close()
	s, err := session.Open(ctx, client, session.WithTTL(2*time.Second))
	if err != nil {
		return err
	}
	name := os.Getenv("SQLFENCE_NAME")
	l, err := lock.New(s, name).Acquire(ctx)
	if err != nil {
		return err
	}
	token := l.Token()
	db, err := sql.Open(os.Getenv("SQLFENCE_DRIVER"), os.Getenv("SQLFENCE_DSN"))
	if err != nil {
		return err
	}
	defer db.Close()
	fmt.Println("token", token)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		switch err := add(ctx, db, name, token); {
		case err == nil:
			fmt.Println("added")
		case errors.Is(err, fence.ErrStale):
			fmt.Println("stale")
		default:
			fmt.Println(err)
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

func startHolder(t *testing.T, d database, endpoint, name string) *holder {
	t.Helper()
	stdin, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	out, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdout.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), "SQLFENCE_HOLDER="+endpoint, "SQLFENCE_NAME="+name, "SQLFENCE_DRIVER="+d.driver, "SQLFENCE_DSN="+d.dsn)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // also a stopped one
		cmd.Process.Kill()
		cmd.Wait()
		in.Close()
		out.Close()
	})
	out.SetReadDeadline(time.Now().Add(time.Minute))
	return &holder{cmd, in, bufio.NewScanner(out)}
}

func (h *holder) tell(t *testing.T, lines string) {
	t.Helper()
	if _, err := fmt.Fprintln(h.in, lines); err != nil {
		t.Fatal(err)
	}
}

// says waits for the next line, which has to begin so, and returns the rest.
func (h *holder) says(t *testing.T, prefix string) string {
	t.Helper()
	h.out.Scan()
	rest, ok := strings.CutPrefix(h.out.Text(), prefix)
	if !ok {
		t.Fatalf("it says %q (%v), want %q", h.out.Text(), h.out.Err(), prefix)
	}
	return rest
}

func (h *holder) told(t *testing.T, line, answer string) {
	t.Helper()
	h.tell(t, line)
	h.says(t, answer)
}

func (h *holder) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := h.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	if s != syscall.SIGSTOP {
		return
	}
	var status syscall.WaitStatus // it is stopped when the kernel says so, not when the signal is sent
	if _, err := syscall.Wait4(h.cmd.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("not stopped: %v, %v", status, err)
	}
}
