package etcdtest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestNoServerOutlivesAKilledTestBinary runs this binary again, for a test that starts three servers, one of them
// stopped, and never ends.
func TestNoServerOutlivesAKilledTestBinary(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	if os.Getenv("ETCDTEST_ORPHANS") != "" {
		stopped, running := Start(t), Start(t)
		stopped.Stop(t)
		fmt.Println("pids", Shared(t).process.cmd.Process.Pid, stopped.process.cmd.Process.Pid, running.process.cmd.Process.Pid)
		select {}
	}

	binary := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	binary.Env = append(os.Environ(), "ETCDTEST_ORPHANS=1", "TMPDIR="+t.TempDir(), "FENCELINE_COMMAND="+Command(t))
	stdout, err := binary.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := binary.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []string
	for lines := bufio.NewScanner(stdout); pids == nil && lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "pids "); ok {
			pids = strings.Fields(rest)
		}
	}
	binary.Process.Kill()
	binary.Wait()
	if len(pids) != 3 {
		t.Fatalf("pids %q", pids)
	}
	for _, pid := range pids {
		Eventually(t, 5*time.Second, "end of server "+pid, func() bool { return !runs(pid) })
	}
}

// runs reports whether the process exists and is not a zombie, which waits for nothing but to be counted.
func runs(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}
