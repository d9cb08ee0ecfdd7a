package witness

import (
	"encoding/binary"
	"errors"
	"io"
	"time"
)

// State is what a page says: whether something may still act under the leases after the process is dead.
type State struct {
	Children int           // so many processes that it has started may act, and are not known to be dead
	Groups   []int         // the process groups of some of these
	Until    time.Duration // others may act until then, by the boot time of the machine; 0: there are none
}

// HandedOn is more children than there can be: another session goes on under the leases, and nobody gives them back for the death of this process.
const HandedOn = 1 << 30

// A page is a file in memory that its session has shared with the witness. The session writes it before what it says may happen. A child counts
// before it is started, and its group is there once it is; when it has ended, the group goes first. So there are as many groups as children only
// if each child has its group there: whenever the process dies, and whatever messages are on their way then.
const (
	pageMagic  = "fenceline page 1"
	childrenAt = 16
	untilAt    = 24
	groupsAt   = 32
	mostGroups = 1024 // children beyond these have none, and so are not known to be dead
	pageSize   = groupsAt + 4*mostGroups
)

var errNoPage = errors.New("witness: the page cannot be read")

// readPage reads what a dead process has written last.
func readPage(r io.ReaderAt) (s State, err error) {
	var text [pageSize]byte
	if _, err := r.ReadAt(text[:], 0); err != nil || string(text[:len(pageMagic)]) != pageMagic {
		return State{}, errNoPage
	}
	s.Children = int(binary.NativeEndian.Uint32(text[childrenAt:]))
	s.Until = time.Duration(binary.NativeEndian.Uint64(text[untilAt:]))
	for at := groupsAt; at < pageSize; at += 4 {
		if g := int(binary.NativeEndian.Uint32(text[at:])); g != 0 {
			s.Groups = append(s.Groups, g)
		}
	}
	return s, nil
}

// verdict is what becomes of the leases of a process that is dead.
type verdict int

const (
	revoke verdict = iota
	wait           // look again after a while
	leave          // the TTL decides
)

// after is a death, as far as it is known.
type after struct {
	page    io.ReaderAt // nil: there was none
	guests  bool
	link    time.Duration
	since   time.Duration // the death, by the boot time
	orphans Orphans
	runs    func(groups []int) bool // whether anything runs in these; nil: it cannot be known
}

// Orphans is what is known of the children of a dead process.
type Orphans int

const (
	Unknown Orphans = iota // nobody here inherits them
	Alive                  // some may be theirs, and run
	Gone                   // none runs
)

// judge decides at now, and says for how long to wait. Who inherits the dead one's children waits for them, whatever the page says: it may
// have had some that it did not tell of.
func judge(a after, now time.Duration) (verdict, time.Duration) {
	const again = 20 * time.Millisecond
	if a.page == nil {
		if a.orphans == Alive {
			return wait, again
		}
		if until := a.since + a.link + a.link/100; a.guests && now < until {
			return wait, until - now
		}
		return revoke, 0
	}
	s, err := readPage(a.page)
	switch {
	case err != nil, s.Children >= HandedOn:
		return leave, 0
	case a.orphans == Alive:
		return wait, again
	case s.Children == 0, a.orphans == Gone:
	case a.runs == nil, len(s.Groups) != s.Children:
		return leave, 0
	case a.runs(s.Groups):
		return wait, again
	}
	if now < s.Until {
		return wait, s.Until - now
	}
	return revoke, 0
}
