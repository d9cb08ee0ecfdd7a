package cli

import (
	"testing"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

func TestTopOnATerminalIsSortedByKeysAndEndsWithQ(t *testing.T) {
	x := onTerminal(t, `$F lock $N sh -c '> $D/held; while [ ! -e $D/go ]; do sleep 0.01; done' & until [ -e $D/held ]; do sleep 0.01; done; $F top --match $N --every 0.2; echo ended; > $D/go; wait`)
	x.shows("by waiting (keys: c g w l n, q)")
	x.shows("sh@")
	x.types("n")
	x.shows("by name (keys")
	x.types("q")
	x.shows("ended")
}

func TestRmOnATerminalAsks(t *testing.T) {
	x := onTerminal(t, `$F latch $N down a --count 1; $F rm latch $N; echo "no: $?"; $F rm latch $N; echo "yes: $?"`)
	x.shows("[y/N] ")
	x.types("\n")
	x.shows("no: 1")
	x.types("y\n")
	x.shows("yes: 0")
	if left := etcdtest.Keys(t, etcdtest.Shared(t).Client(t), "fenceline/latch/"+x.name+"/"); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
}
