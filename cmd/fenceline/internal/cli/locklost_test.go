package cli

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

// beats is a command that is deaf to SIGTERM and writes the time into $D/beats for as long as it lives.
const beats = `trap '' TERM; echo $$ > $D/pid; while :; do date +%s%N >> $D/beats; sleep 0.01; done`

// lastBeat is when the command was last seen alive.
func (w *wrapper) lastBeat() time.Time {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, "beats"))
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	ns, parseErr := strconv.ParseInt(lines[len(lines)-1], 10, 64)
	if err != nil || parseErr != nil {
		w.t.Fatal(err, parseErr)
	}
	return time.Unix(0, ns)
}

func (w *wrapper) commandIsDead() {
	w.t.Helper()
	pid, err := strconv.Atoi(w.until("pid"))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := syscall.Kill(-pid, 0); err != syscall.ESRCH {
		etcdtest.Eventually(w.t, 5*time.Second, "what was killed is buried", func() bool { return syscall.Kill(-pid, 0) == syscall.ESRCH })
	}
}

func TestCommandIsDeadBeforeTheLeaseEndsWhenEtcdStops(t *testing.T) {
	t.Parallel()
	const ttl = 3 * time.Second
	m := etcdtest.Start(t)
	w := started(t, m.Endpoint(), "lock", "--ttl", ttl.String(), "x", "sh", "-c", beats)
	w.until("beats")
	m.Stop(t)
	stopped := time.Now() // the last renewal began before
	w.exits(75)
	if alive := w.lastBeat().Sub(stopped); alive >= ttl {
		t.Errorf("the command lived for %v after etcd stopped; the TTL is %v", alive, ttl)
	}
	w.commandIsDead()
	w.says("lost: no renewal has been acknowledged")
	w.says("SIGKILL")
}

func TestCommandIsDeadBeforeTheNextHolderWhenTheNetworkIsCut(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Start(t), etcdtest.Name(t)
	for fault, apply := range map[string]func(*etcdtest.Proxy){
		"cut":       func(p *etcdtest.Proxy) { p.Cut() },
		"blackhole": func(p *etcdtest.Proxy) { p.Blackhole() },
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			name, p := name+fault, etcdtest.NewProxy(t, m)
			w := started(t, p.Endpoint(), "lock", "--ttl", "2", name, "sh", "-c", beats)
			w.until("beats")
			next := started(t, m.Endpoint(), "lock", name, "sh", "-c", "date +%s%N > $D/beats")
			entries(t, m.Client(t), name, 2)
			apply(p)
			next.exits(0)
			w.exits(75)
			if overlap := w.lastBeat().Sub(next.lastBeat()); overlap >= 0 {
				t.Errorf("the command was alive %v after the next one began", overlap)
			}
		})
	}
}

func TestCommandSurvivesAnOutageShorterThanTheTTL(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	in, end := pipe(t)
	w := startedWith(t, m.Endpoint(), in, "lock", "--ttl", "6", "x", "sh", "-c", "echo > $D/ready; cat; exit 3")
	w.until("ready")
	m.Restart(t)
	for began := time.Now(); time.Since(began) < 6*time.Second; { // past the first lease
		if len(etcdtest.Keys(t, m.Client(t), "fenceline/lock/x/")) != 1 {
			t.Fatal("the entry is gone")
		}
		time.Sleep(200 * time.Millisecond)
	}
	end()
	w.exits(3)
}

func TestWokenWrapperKillsAtOnce(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	w := started(t, m.Endpoint(), "lock", "--ttl", "3", "--grace", "1", name, "sh", "-c", beats)
	w.until("beats")
	w.signal(syscall.SIGSTOP)
	entries(t, m.Client(t), name, 0)
	w.signal(syscall.SIGCONT)
	woken := time.Now()
	w.exits(75)
	if alive := w.lastBeat().Sub(woken); alive > 500*time.Millisecond {
		t.Errorf("the command lived for %v after its keeper woke up too late", alive)
	}
	w.commandIsDead()
}

func TestKilledWrapperTakesTheCommandWithIt(t *testing.T) {
	w := started(t, etcdtest.Shared(t).Endpoint(), "lock", "--ttl", "2", etcdtest.Name(t), "sh", "-c", beats)
	w.until("pid")
	w.signal(syscall.SIGKILL)
	w.commandIsDead()
}

func TestOnLostIgnoreSaysSoAndKeepsTheExitCode(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	in, end := pipe(t)
	w := startedWith(t, m.Endpoint(), in, "lock", "--ttl", "2", "--on-lost", "ignore", name, "sh", "-c", "echo > $D/ready; cat; exit 4")
	w.until("ready")
	client := m.Client(t)
	if _, err := client.Delete(t.Context(), entries(t, client, name, 1)[0]); err != nil {
		t.Fatal(err)
	}
	end()
	w.exits(4)
	w.says("lost")
}

func TestInterruptedWaitLeavesNothingBehind(t *testing.T) {
	m := etcdtest.Start(t)
	client := m.Client(t)
	release := hold(t, m, "x")
	for sig, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143, syscall.SIGHUP: 129} {
		w := started(t, m.Endpoint(), "lock", "x", "true")
		entries(t, client, "x", 2)
		w.signal(sig)
		w.exits(code)
		entries(t, client, "x", 1)
		if leases := etcdtest.Leases(t, client); len(leases) != 1 {
			t.Errorf("%v: leases %v, want the holder's", sig, leases)
		}
	}
	release()
}

func TestSecondInterruptExitsAtOnce(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	hold(t, m, "x")
	w := started(t, m.Endpoint(), "lock", "x", "true")
	entries(t, m.Client(t), "x", 2)
	m.Stop(t) // nothing can be given back
	defer m.Continue(t)
	w.signal(syscall.SIGTERM)
	began := time.Now()
	etcdtest.Eventually(t, 10*time.Second, "the second signal ends it", func() bool {
		w.signal(syscall.SIGINT)
		select {
		case <-w.done:
			return true
		default:
			return false
		}
	})
	if took := time.Since(began); took > time.Second {
		t.Errorf("took %v", took)
	}
	if code := w.cmd.ProcessState.ExitCode(); code != 130 && code != 143 {
		t.Errorf("exit code %d", code)
	}
}
