package line

import (
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/queue"
	"github.com/fenceline/fenceline/internal/since"
)

// stage is how far an attempt has come.
type stage int

const (
	sent     stage = iota // no answer to its enqueue: of its entries none may stand, or all may
	queued                // they stand, and others are ahead
	entered               // its turn has come: it is granted here, or lingers, or rests
	vanished              // entered, and a watch does not show one of them any more; a renewal is to tell why
	swapping              // to be given back for an heir, in one transaction: others here get their turn, or it goes to the back of the line
	leaving               // to be given back; that cannot be taken back
)

var stageNames = [...]string{"sent", "queued", "entered", "vanished", "swapping", "leaving"}

func (s stage) String() string { return stageNames[s] }

// attempt is our entries in etcd, one in each line of the machine, from the first enqueue to their end. They come and go together.
type attempt struct {
	number int // among those of the machine
	epoch  *keeper.Epoch
	write  keeper.Undoable // the sender's: the enqueue
	brief  bool            // the sender's: etcd has no room in a transaction for looks at the lines

	stage         stage
	stood         bool // its entries were seen to stand
	unknown       bool // an enqueue went unanswered: it may have happened, or may yet
	deleteUnknown bool // a delete did
	spots         []spot
	with          []string      // keys that are deleted with the entries
	mark          since.Mark    // the driver's: since when they stand, and are held
	asked         chan struct{} // closed when somebody wants them given back; nil: nobody has looked
	isAsked       bool

	turns     turns
	uses      int    // local grants
	passed    int    // of these, in a row while others waited, after the first
	exposed   bool   // a holder has looked at the entry
	rewritten bool   // its value was changed once at least
	inherited bool   // an earlier session has put it
	waited    bool   // somebody was ahead when its entries had come in
	edit      *edit  // of its value, under way
	said      report // what the quorum said last of those behind

	fates []chan error // where releases read that wait for the end
	end   *ending      // nil: there was none
}

// ending is how an attempt has ended.
type ending struct{ err error }

// spot is one entry of an attempt.
type spot struct {
	lease    clientv3.LeaseID
	slot     slotKey
	key      string
	foreign  bool // a stranger has an entry there
	returned bool // its slot was given back; guarded by the table's mutex

	entry   queue.Entry
	entered bool          // nobody is ahead who has to leave
	since   time.Duration // when that was found out

	// Until it has entered:
	count   int64         // entries in the line when ours joined; 0: not known
	front   int           // of these, who stand before it: hooks are told
	waiting int           // how many of those before ours had not entered then
	ahead   queue.Entry   // who has to leave before us, as far as we know
	blocks  bool          // it does, whatever others do
	long    bool          // the line was seen to be long
	near    []queue.Entry // in a long line: those in the way, the nearest ones; see queue.Policy.Horizon
	askNow  bool          // ask etcd whether our turn has come
	quorum  bool          // and not just the nearest member
	askAt   time.Duration // when to ask if nothing is heard until then; 0: not
	asks    int           // how often that was done
	whoAt   time.Duration // when to find out whose the entry ahead is; 0: not

	outranked time.Duration // since when it should go to the back of the line; 0: it should not

	// While departures are tracked, for the sake of a take-over delay:
	before    []queue.Entry // who was ahead, in order,
	beforeRev int64         // at this revision
	departed  []departure   // who of them has gone, and may have died
	died      bool          // one has,
	diedAt    time.Duration // and the last of those was found gone then

	restUntil time.Duration    // nobody else may have it before; see Options.MinHold
	parks     bool             // it is released, and moved to a lease of its own until then:
	parking   clientv3.LeaseID // the sender's: that one
	kept      bool             // it cannot be moved, and stays under the session's lease
}

// departure is an entry before ours that does not stand any more.
type departure struct {
	entry       queue.Entry
	stood, gone int64 // revisions: it was deleted after the one, and no later than the other
	seen        time.Duration
}

// edit is a change of an entry's value, while it is held.
type edit struct {
	value   string
	demote  bool // it makes a writer's entry a reader's
	unknown bool // an attempt went unanswered
	done    chan error
	over    chan struct{} // closed when it is no longer under way
}

// in says whether its turn has come.
func (a *attempt) in() bool { return a.stage == entered || a.stage == vanished }

// check returns what is wrong with a: what may be there in which stage.
func (a *attempt) check() error {
	for i := range a.spots {
		switch s := &a.spots[i]; {
		case s.key == "":
			return fmt.Errorf("spot %d has no key", i)
		case a.stood != (s.entry.Create != 0):
			return fmt.Errorf("spot %d: the attempt stood is %v, and the entry is %v", i, a.stood, s.entry)
		case a.in() && !s.entered:
			return fmt.Errorf("spot %d has not entered in stage %s", i, a.stage)
		case s.entered && (s.askNow || s.askAt != 0):
			return fmt.Errorf("spot %d has entered, and etcd is to be asked about it", i)
		case s.kept && s.parks:
			return fmt.Errorf("spot %d is kept, and moved", i)
		}
	}
	switch {
	case a.stage == sent && a.stood:
		return fmt.Errorf("its entries are known to stand in stage %s", a.stage)
	case (a.in() || a.stage == queued) && !a.stood:
		return fmt.Errorf("its entries are not known to stand in stage %s", a.stage)
	case a.uses > 0 && a.stage < entered:
		return fmt.Errorf("it was granted in stage %s", a.stage)
	case a.edit != nil && a.uses == 0:
		return fmt.Errorf("it is rewritten by nobody")
	case len(a.fates) > 0 && a.uses == 0:
		return fmt.Errorf("somebody waits for the end of what was never granted")
	}
	return nil
}

// resting says whether an entry has to stay though nobody holds it, and kept, whether it does so where it is.
func (a *attempt) resting(now time.Duration) (resting, kept bool) {
	for i := range a.spots {
		if s := &a.spots[i]; s.parks || now < s.restUntil {
			resting, kept = true, kept || s.kept
		}
	}
	return resting, kept
}
