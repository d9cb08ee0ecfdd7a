package cli

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
)

// Each script has somebody be in the way until $D/go is there.
func TestWaitOnATerminalSaysForWhatAndWhenItIsOver(t *testing.T) {
	const until = ` sh -c '> $D/held; while [ ! -e $D/go ]; do sleep 0.01; done' & until [ -e $D/held ]; do sleep 0.01; done; `
	for what, c := range map[string]struct{ script, waits, over string }{
		"lock":     {`$F lock $N` + until + `$F lock $N echo hello`, `": waiting: held by sh on host `, `": acquired after `},
		"locks":    {`$F lock $N` + until + `$F lock $N-a $N -- echo hello`, `": held by sh on host `, `": acquired after `},
		"reader":   {`$F lock -x $N` + until + `$F lock -s $N echo hello`, `": waiting: held by sh on host `, `": acquired after `},
		"sem":      {`$F sem $N --limit 2 --units 2 --` + until + `$F sem $N echo hello`, `": waiting: 2 of 2 units are held or waited for, held by sh on host `, `": acquired after `},
		"elect":    {`$F elect $N` + until + `$F elect $N echo hello`, `": waiting: sh on host `, `": elected after `},
		"prefix":   {`$F elect --prefix raw/$N x` + until + `$F elect --prefix raw/$N x echo hello`, `": waiting: sh on host `, `": elected after `},
		"gate":     {`$F gate close $N; (until [ -e $D/go ]; do sleep 0.01; done; $F gate open $N) & $F gate wait $N && echo hello`, `": waiting: closed by fenceline on host `, `": open after `},
		"latch":    {`(until [ -e $D/go ]; do sleep 0.01; done; $F latch $N down a --count 1) & $F latch $N wait --count 1 && echo hello`, `": waiting: 1 of 1 left`, `": open after `},
		"barrier":  {`(until [ -e $D/go ]; do sleep 0.01; done; $F barrier $N --parties 2 -- true) & $F barrier $N --parties 2 -- echo hello`, `": waiting: 1 of 2 are here`, `": all are here after `},
		"register": {`$F register $N 127.0.0.1:1 -- sh -c 'echo hello; > $D/ran; exec sleep 60' & until [ -e $D/go ] && [ -e $D/ran ]; do sleep 0.01; done; kill $!; wait`, `": registered at 127.0.0.1:1`, ""},
		"cron":     {`$F cron --job "$N=@every 1s" -- sh -c '> $D/ran' & until [ -e $D/ran ]; do sleep 0.01; done; echo hello; kill $!; wait`, `": waiting for the ticks of "@every 1s", UTC`, ""},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			x := onTerminal(t, c.script)
			x.shows(c.waits)
			writeFile(t, filepath.Join(x.dir, "go"), "")
			x.shows(c.over)
			x.shows("hello")
		})
	}
}

func TestMessagesOnATerminalAreNoWiderThanIt(t *testing.T) {
	keyboard, tty := openTerminal(t)
	defer keyboard.Close()
	defer tty.Close()
	resize(t, tty, 30)
	for text, want := range map[string]string{
		`fenceline: short`: `fenceline: short`,
		`fenceline: lock "nightly": waiting: held by report-server on host a1 (pid 4711)`: "fenceline: lock \"nightly\":\n  waiting: held by\n  report-server on host a1\n  (pid 4711)",
		`fenceline: averyveryveryveryverylongnamewithoutspaces is`:                        "fenceline:\n  averyveryveryveryverylongnamewithoutspaces\n  is",
		"one line\nand another, of its own, and more":                                     "one line\nand another, of its own, and\n  more",
	} {
		if got := app.Fitted(tty, text); got != want {
			t.Errorf("%q", got)
		}
		if got := app.Fitted(create(t, t.TempDir(), "file"), text); got != text {
			t.Errorf("in a file: %q", got)
		}
	}
}

func resize(t *testing.T, tty *os.File, columns uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
}
