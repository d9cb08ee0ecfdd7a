package cli

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

func parties(t *testing.T, client *clientv3.Client, name string, want int) {
	t.Helper()
	etcdtest.Eventually(t, 10*time.Second, fmt.Sprintf("%d parties of %s", want, name), func() bool {
		return len(etcdtest.Keys(t, client, "fenceline/barrier/"+name+"/in/")) == want
	})
}

func TestWrongBarrierGateAndLatchCommandLinesAre64BeforeAnyRequest(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"barrier"}, "NAME and COMMAND are missing"},
		{[]string{"barrier", "a", "--parties", "2"}, "COMMAND is missing"},
		{[]string{"barrier", "", "--parties", "2", "--", "true"}, `barrier "": it is empty`},
		{[]string{"barrier", "a", "true"}, "--parties is missing"},
		{[]string{"barrier", "a", "--parties", "0", "true"}, "--parties 0: it must be at least 1"},
		{[]string{"barrier", "a", "--parties", "all", "true"}, `--parties "all": it is not a whole number`},
		{[]string{"barrier", "a", "--parties", "2", "-w", "0", "true"}, "--wait 0s: it must be more than 0"},
		{[]string{"barrier", "a", "--parties", "2", "-E", "300", "true"}, "-E 300"},
		{[]string{"gate"}, "what to do is missing: open, close or wait"},
		{[]string{"gate", "shut", "a"}, `"shut": it is none of open, close, wait`},
		{[]string{"gate", "open"}, "NAME is missing"},
		{[]string{"gate", "close", ""}, `gate "": it is empty`},
		{[]string{"gate", "wait", "a", "-w", "-1"}, `"-1": it is negative`},
		{[]string{"gate", "wait", "a", "b"}, `"b": one argument too many`},
		{[]string{"latch"}, "there must be NAME and what to do"},
		{[]string{"latch", "a", "up"}, `"up": it is neither down nor wait`},
		{[]string{"latch", "a", "down", "--count", "2"}, "ID is missing"},
		{[]string{"latch", "a", "down", "", "--count", "2"}, `ID "": it is empty`},
		{[]string{"latch", "a", "down", "x"}, "--count is missing"},
		{[]string{"latch", "a", "wait", "--count", "0"}, "--count 0: it must be at least 1"},
		{[]string{"latch", "a", "wait", "--count", "1.5"}, `--count "1.5": it is not a whole number`},
		{[]string{"latch", "a", "down", "x", "--count", "2", "-w", "1"}, "--wait: down waits for nobody"},
		{[]string{"latch", "", "wait", "--count", "2"}, `latch "": it is empty`},
	} {
		args := append(test.args[:1:1], append([]string{"--endpoints", "127.0.0.1:1"}, test.args[1:]...)...)
		if code, stdout, stderr := fenceline(args...); code != 64 || stdout != "" || !strings.Contains(stderr, test.want) {
			t.Errorf("%q: code %d, stdout %q, stderr %q, want %q", test.args, code, stdout, stderr, test.want)
		}
	}
}

func TestBarrierRunsNobodyBeforeAllHaveComeAndLeavesTogether(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	client := m.Client(t)
	in, end := pipe(t)
	const script = "echo $FENCELINE_BARRIER_NAME $FENCELINE_ROUND > $D/ran; "
	first := startedWith(t, m.Endpoint(), in, "barrier", name, "--parties", "3", "--", "sh", "-c", script+"cat; exit 5")
	second := started(t, m.Endpoint(), "barrier", "--parties", "3", name, "sh", "-c", script+"exit 6")
	parties(t, client, name, 2)
	if ran := first.read("ran") + second.read("ran"); ran != "" {
		t.Errorf("ran before all had come: %q", ran)
	}
	third := started(t, m.Endpoint(), "barrier", "--parties", "3", name, "sh", "-c", script)
	for _, w := range []*wrapper{first, second, third} {
		if got := w.until("ran"); got != name+" 1" {
			t.Errorf("%q, want the first round of %s", got, name)
		}
	}
	parties(t, client, name, 1)
	for _, w := range []*wrapper{second, third} {
		select {
		case <-w.done:
			t.Error("one has ended before the others of its round")
		default:
		}
	}
	end()
	first.exits(5)
	second.exits(6)
	third.exits(0)
	parties(t, client, name, 0)
}

func TestInterruptedPartyLeavesNoEntry(t *testing.T) {
	for sig, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		m, name := etcdtest.Start(t), etcdtest.Name(t)
		client := m.Client(t)
		w := started(t, m.Endpoint(), "barrier", name, "--parties", "2", "--", "sh", "-c", "exit 42")
		parties(t, client, name, 1)
		w.signal(sig)
		w.exits(code)
		if keys, leases := etcdtest.Keys(t, client, ""), etcdtest.Leases(t, client); len(keys)+len(leases) > 0 {
			t.Errorf("left behind: leases %v, keys %q", leases, keys)
		}
	}
}

func TestSignalWhileTheOthersRunEndsTheWaitForThem(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	in, end := pipe(t)
	slow := startedWith(t, m.Endpoint(), in, "barrier", name, "--parties", "2", "--", "cat")
	quick := started(t, m.Endpoint(), "barrier", name, "--parties", "2", "--", "sh", "-c", "echo > $D/ran")
	quick.until("ran")
	parties(t, m.Client(t), name, 1)
	quick.signal(syscall.SIGINT)
	quick.exits(130)
	end()
	slow.exits(0)
}

func TestBarrierThatIsNotFullInTimeEndsWithTheConflictCode(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	for _, test := range []struct {
		flags []string
		code  int
		says  string
	}{
		{[]string{"-w", "0.3"}, 1, "the round was not full within 300ms"},
		{[]string{"-w", "0.3", "-E", "9"}, 9, "the round was not full within 300ms"},
		{[]string{"-w", "0.3", "--skip-ok"}, 0, ""},
	} {
		w := started(t, m.Endpoint(), append(append([]string{"barrier", "--parties", "2"}, test.flags...), name, "sh", "-c", "exit 42")...)
		w.exits(test.code)
		w.says(test.says)
		if test.says == "" && w.stderr() != "" {
			t.Errorf("%q: said %q", test.flags, w.stderr())
		}
	}
	parties(t, m.Client(t), name, 0)
}

func TestBarrierOfAnotherNumberOfPartiesIs1AndNamesBoth(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	waiting := started(t, m.Endpoint(), "barrier", "--parties", "2", name, "true")
	parties(t, m.Client(t), name, 1)
	w := started(t, m.Endpoint(), "barrier", "--parties", "3", "--skip-ok", name, "true")
	w.exits(1)
	w.says("--parties 3: ")
	w.says("2, not 3")
	started(t, m.Endpoint(), "barrier", "--parties", "2", name, "true").exits(0)
	waiting.exits(0)
}

func TestBrokenBarrierEndsAllWithTheConflictCode(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	waiting := started(t, m.Endpoint(), "barrier", "--parties", "3", "--break", "-E", "8", name, "true")
	leaving := started(t, m.Endpoint(), "barrier", "--parties", "3", "--break", name, "true")
	parties(t, m.Client(t), name, 2)
	leaving.signal(syscall.SIGINT)
	leaving.exits(130)
	waiting.exits(8)
	waiting.says("somebody left or died before the round was full")
}

func TestLostPlaceEndsTheCommandWith75(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	client := m.Client(t)
	w := started(t, m.Endpoint(), "barrier", "--ttl", "3", "--parties", "1", "n", "sh", "-c", "echo > $D/ready; while :; do sleep 0.01; done")
	w.until("ready")
	if _, err := client.Revoke(t.Context(), etcdtest.Leases(t, client)[0]); err != nil {
		t.Fatal(err)
	}
	w.exits(75)
	w.says("lost: lease does not exist any more")
}

func TestGateHoldsUntilItIsOpenedAlsoWhenItsCloserIsGone(t *testing.T) {
	m, name := etcdtest.Start(t), etcdtest.Name(t)
	client := m.Client(t)
	started(t, m.Endpoint(), "gate", "wait", name).exits(0)
	started(t, m.Endpoint(), "gate", "close", name).exits(0)
	for _, test := range []struct {
		flags []string
		code  int
		says  string
	}{
		{[]string{"-w", "0.2"}, 1, "not open within 200ms"},
		{[]string{"-w", "0"}, 1, "it is not open"},
		{[]string{"-w", "0.2", "-E", "7"}, 7, "not open within 200ms"},
		{[]string{"-w", "0.2", "--skip-ok"}, 0, ""},
	} {
		w := started(t, m.Endpoint(), append([]string{"gate", "wait", name}, test.flags...)...)
		w.exits(test.code)
		w.says(test.says)
	}
	waiting := started(t, m.Endpoint(), "gate", "wait", name)
	interrupted := started(t, m.Endpoint(), "gate", "wait", name)
	etcdtest.Eventually(t, 10*time.Second, "both wait", func() bool { return len(etcdtest.Leases(t, client)) == 2 })
	interrupted.signal(syscall.SIGINT)
	interrupted.exits(130)
	started(t, m.Endpoint(), "gate", "open", name).exits(0)
	waiting.exits(0)
	started(t, m.Endpoint(), "gate", "wait", "-w", "0", name).exits(0)
}

func TestLatchOpensOnceAsManyIDsWereCounted(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	waiting := started(t, m.Endpoint(), "latch", name, "wait", "--count", "2")
	for range 2 {
		started(t, m.Endpoint(), "latch", name, "down", "a", "--count", "2").exits(0)
	}
	w := started(t, m.Endpoint(), "latch", name, "wait", "--count", "2", "-w", "0.2")
	w.exits(1)
	w.says("not open within 200ms")
	started(t, m.Endpoint(), "latch", name, "wait", "--count", "2", "-w", "0", "-E", "4").exits(4)
	started(t, m.Endpoint(), "latch", name, "wait", "--count", "2", "-w", "0", "--skip-ok").exits(0)
	for _, verb := range [][]string{{"down", "b"}, {"wait"}} {
		w := started(t, m.Endpoint(), append(append([]string{"latch", name}, verb...), "--count", "3")...)
		w.exits(1)
		w.says("it counts from 2, not 3")
	}
	select {
	case <-waiting.done:
		t.Error("open before both were counted")
	default:
	}
	started(t, m.Endpoint(), "latch", name, "down", "b", "--count", "2").exits(0)
	waiting.exits(0)
	started(t, m.Endpoint(), "latch", name, "wait", "--count", "2", "-w", "0").exits(0)
}

func TestBarrierGateAndLatchWithoutEtcdAre69(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"barrier", "x", "--parties", "2", "--", "true"}, {"gate", "open", "x"}, {"gate", "wait", "x"}, {"latch", "x", "down", "a", "--count", "1"},
	} {
		w := started(t, "127.0.0.1:1", append([]string{"--command-timeout", "300ms"}, args...)...)
		w.exits(69)
		w.says("cannot reach etcd at 127.0.0.1:1")
	}
}

func TestLsShowsWhoIsInABarrierAndNoBookkeeping(t *testing.T) {
	m, name := etcdtest.Start(t), etcdtest.Name(t)
	started(t, m.Endpoint(), "barrier", "--parties", "1", name, "true").exits(0)
	started(t, m.Endpoint(), "latch", name, "down", "a", "--count", "2").exits(0)
	w := started(t, m.Endpoint(), "barrier", "--parties", "2", name, "true")
	parties(t, m.Client(t), name, 1)
	l := lsJSON(t, m).Lines
	if len(l) != 2 || l[1].Kind != "latch" || l[0].Kind != "barrier" || len(l[0].Entries) != 1 || l[0].Entries[0].Session == nil || l[0].Entries[0].Session.Name != "true" {
		t.Errorf("%+v", l)
	}
	w.signal(syscall.SIGTERM)
	w.exits(143)
}
