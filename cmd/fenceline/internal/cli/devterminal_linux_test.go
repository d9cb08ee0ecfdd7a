package cli

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

func TestPasswordIsAskedForAtTheTerminalAndNotShown(t *testing.T) {
	m := etcdtest.Start(t)
	enableAuth(t, m.Client(t))
	ls := etcdtest.Command(t) + " ls --user root --endpoints " + m.Endpoint() + " </dev/null >/dev/null; echo code:$?"

	x := onTerminal(t, ls)
	x.shows("Password of root: ")
	x.types("root\n")
	x.shows("code:0")
	if screen := x.shown(); strings.Count(screen, "root") != 1 {
		t.Errorf("the terminal shows %q", screen)
	}

	x = onTerminal(t, "trap : INT; "+ls+"; stty -a")
	x.shows("Password of root: ")
	x.types("\x03")
	x.shows("code:130")
	x.shows(" echo ")
}

// TestCtrlCReachesTheCommandOfDevOnce has this binary run as the command: a shell cannot tell two signals from one.
func TestCtrlCReachesTheCommandOfDevOnce(t *testing.T) {
	if os.Getenv("COUNT_INTERRUPTS") != "" {
		interrupts := make(chan os.Signal, 10)
		signal.Notify(interrupts, os.Interrupt)
		fmt.Println("up")
		<-interrupts
		select {
		case <-interrupts:
			fmt.Println("twice")
		case <-time.After(200 * time.Millisecond): // as long as a second one may take
			fmt.Println("once")
		}
		os.Exit(9)
	}
	x := onTerminal(t, fmt.Sprintf("trap : INT; COUNT_INTERRUPTS=1 %s dev %s %s -test.run='^%s$'; echo code:$?",
		etcdtest.Command(t), anyPort, os.Args[0], t.Name()))
	x.shows("up")
	x.types("\x03")
	x.shows("code:9")
	if screen := x.shown(); !strings.Contains(screen, "once") {
		t.Errorf("the terminal shows %q", screen)
	}
}

func (x *terminal) shown() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.screen.String()
}
