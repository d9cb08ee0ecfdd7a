package line

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/queue"
	"github.com/fenceline/fenceline/session"
)

// machine is who waits and who holds in one line, or in several at once, and what is known of them in etcd. It is pure: it has no I/O, no
// clock and no goroutine. What happens comes in by step; what is to be done about it comes out as effects.
//
// A machine of one line may be shared: all callers of a session stand in its queue and take turns on one attempt. A private one has one caller,
// whose entries are never handed on.
type machine struct {
	tracks  []track
	private bool
	world   world

	at  moment
	out []effect

	queue   list.List // of *waiter
	holds   []*Hold   // in no order; more than one only if the policy shares
	attempt *attempt
	heir    *attempt // swapping: what attempt is given back for
	made    int      // attempts so far

	asking  *request      // under way; nil: none is
	retryAt time.Duration // not before is there another; 0: at once
	tries   int           // requests that failed in a row
	trouble error         // what etcd had against us last
	closed  error         // the session is

	lingerUntil time.Duration
	lookAt      time.Duration // see mindTrust; 0: not
	relies      bool          // on the silence of the session's watch stream
	retireAt    time.Duration // when it leaves the table; 0: it is in use
	retired     bool          // whoever comes finds another line
	fate        chan error    // of the release that was stepped last
}

// track is what is known of one line, whichever attempt stands in it.
type track struct {
	ref    *Ref
	policy queue.Policy // of ref, or what it was demoted to
	prefix string
	end    string // of the range of all entries
	opts   *Options
	length int64 // of the line when we joined last; 0: not known
	fitted bool  // our last entry entered at once
	fears  bool  // a caller has asked for a take-over delay: departures are tracked

	view      *view   // nil: none is open
	besides   []*view // of keys whose change may let us enter: the policy's beside the line, and of a long line those in the way
	failed    int     // watches, in a row
	viewAfter time.Duration
	closeAt   time.Duration // nobody needs the views any more then; 0: somebody does

	met acquaintance // who was before our entry last
}

// acquaintance is an entry before ours, and whose it is.
type acquaintance struct {
	queue.Entry
	holder session.Holder
}

// world is what a machine reads of the outside.
type world interface {
	// alive says whether the silence of the watch stream means anything.
	alive() bool
	// silence is how long a watch is believed that tells nothing.
	silence() time.Duration
	// spot names an entry of the i-th line under lease.
	spot(i int, lease clientv3.LeaseID) spot
	jitter(d time.Duration) time.Duration
	pause(policy etcd.Backoff, failed int) time.Duration
}

// moment is when something happens: the time, and what the attempt's lease is worth then.
type moment struct {
	now   time.Duration // on the keeper's clock
	fresh bool          // enough of the lease is left for a new hold
	lost  error         // nil: the lease may be trusted
}

// waiter is a call in the queue. It is answered once.
type waiter struct {
	opts  *Options
	ctx   context.Context
	at    *list.Element
	came  time.Duration
	took  time.Duration // until it was answered; before that, what it has waited in a line that was retired
	hold  *Hold
	err   error
	ready chan struct{} // the driver's
	try   bool
	in    bool // it may wait, whoever comes before it later
	done  bool
	again bool // to be asked of another line
	told  bool // hooks and meters are told of it when it is answered
}

func (m *machine) effect(e effect) { m.out = append(m.out, e) }

// step takes what has happened, and returns what is to be done, which is good until the next step.
func (m *machine) step(at moment, ev *event) []effect {
	clear(m.out)
	m.at, m.out, m.fate = at, m.out[:0], nil
	if at.lost != nil && m.attempt != nil {
		m.lose(m.attempt, at.lost)
	}
	switch ev.what {
	case onTick:
	case onWant:
		m.want(ev.w)
	case onCancel:
		m.cancel(ev.w)
	case onRelease:
		m.release(ev.h)
	case onHandOver:
		ev.next = m.handOver(ev.h, ev.caller)
	case onChange:
		ev.h.attempt.edit, ev.h.attempt.rewritten = ev.edit, true
	case onAnswer:
		m.answered(ev.req, ev.ans)
	case onReason:
		m.explained(ev.a, ev.err)
	case onOpened:
		m.opened(ev.view, ev.revision)
	case onListed:
		m.listed(ev.view, ev)
	case onEvents:
		m.told(ev.view, ev.events)
	case onEnded:
		m.viewEnded(ev.view, ev.err)
	case onMet:
		m.tracks[ev.i].met = ev.met
	case onClose:
		m.close(ev.err)
	}
	m.proceed()
	return m.out
}

// proceed does all that can be done now, and has one request sent for what cannot.
func (m *machine) proceed() {
	m.passTime()
	if a := m.attempt; a != nil && m.shares() && len(m.holds) > 0 && m.isClosed() {
		m.refuseTries()
	}
	for m.next() == grant && m.at.fresh {
		m.grant()
	}
	if m.asking == nil {
		m.request()
	} else if m.asking.kind == askLease && m.queue.Len() == 0 {
		m.effect(effect{do: doRecall, req: m.asking})
	}
	for i := range m.tracks {
		m.mindView(i)
	}
	m.mindTrust()
	m.mindRetiring()
}

// idleFor is how long a line stays in the table that nobody uses.
const idleFor = time.Second

func (m *machine) mindRetiring() {
	switch {
	case m.private || m.retired:
	case !m.idle():
		m.retireAt = 0
	case m.closed != nil || m.retireAt != 0 && m.at.now >= m.retireAt:
		m.retire()
	case m.retireAt == 0:
		m.retireAt = m.at.now + idleFor
	}
}

func (m *machine) retire() {
	m.retired, m.retireAt = true, 0
	m.effect(effect{do: doRetire})
}

// idle says that nobody uses the machine, and it uses nothing.
func (m *machine) idle() bool {
	if m.attempt != nil || len(m.holds) > 0 || m.queue.Len() > 0 || m.asking != nil {
		return false
	}
	for i := range m.tracks {
		if m.tracks[i].view != nil || len(m.tracks[i].besides) > 0 {
			return false
		}
	}
	return true
}

func (m *machine) front() *waiter {
	if e := m.queue.Front(); e != nil {
		return e.Value.(*waiter)
	}
	return nil
}

// shares says whether several may hold here at once.
func (m *machine) shares() bool { return m.tracks[0].policy.Shares != nil }

// options are w's for the i-th line.
func (m *machine) options(w *waiter, i int) *Options {
	if m.private {
		return m.tracks[i].opts
	}
	return w.opts
}

// attemptUnder is a new one, whose entries hang on leases.
func (m *machine) attemptUnder(e *keeper.Epoch, leases []clientv3.LeaseID) *attempt {
	m.made++
	a := &attempt{number: m.made, epoch: e, write: keeper.Undoable{Epoch: e}, spots: make([]spot, len(leases))}
	for i, lease := range leases {
		a.spots[i] = m.world.spot(i, lease)
		a.spots[i].blocks = m.tracks[i].policy.Alone == nil
	}
	return a
}

// takeUp makes a the attempt.
func (m *machine) takeUp(a *attempt) {
	m.attempt = a
	m.effect(effect{do: doTend, a: a})
}

// drop forgets a.
func (m *machine) drop(a *attempt) {
	m.effect(effect{do: doForget, a: a})
	if m.attempt != a {
		return
	}
	m.attempt, m.relies, m.lookAt, m.retryAt = nil, false, 0, 0
}

// giveUp lets go of an attempt that was never confirmed; its lease may live.
func (m *machine) giveUp(a *attempt, lives bool) {
	if lives && a.unknown {
		m.effect(effect{do: doAbandon, a: a})
		return
	}
	m.give(a)
}

// give frees the slots of a, whose entries are known to be gone, and not to come.
func (m *machine) give(a *attempt) {
	for i := range a.spots {
		if s := &a.spots[i]; !s.foreign && !s.parks {
			m.effect(effect{do: doFree, a: a, i: int32(i)})
		}
	}
}

// vacate drops a, whose entries are known to be gone, and not to come.
func (m *machine) vacate(a *attempt, err error) {
	m.drop(a)
	m.give(a)
	a.end = &ending{err}
	m.settle(a, err)
}

// lose ends what hangs on a: its entries do not count any more.
func (m *machine) lose(a *attempt, cause error) {
	if m.attempt != a {
		return
	}
	for len(m.holds) > 0 {
		h := m.holds[len(m.holds)-1]
		m.end(h, cause)
		h.lost = cause
		m.effect(effect{do: doLost, h: h, err: cause})
	}
	m.finish(a, cause)
	deleted := errors.Is(cause, keeper.ErrEntryGone) // and the lease lives
	if heir := m.heir; heir != nil {
		m.heir = nil
		m.giveUp(heir, deleted)
	}
	if !deleted {
		m.vacate(a, cause)
		return
	}
	m.drop(a) // as far as a watch can tell; they must not come back, and not stay
	a.end = &ending{cause}
	m.settle(a, cause)
	m.effect(effect{do: doAbandon, a: a})
}

// settle tells releases how a has ended, or that it goes on.
func (m *machine) settle(a *attempt, err error) {
	for _, fate := range a.fates {
		m.effect(effect{do: doSettle, fate: fate, err: err})
	}
	a.fates = nil
}

// finish ends the edit of a, if there is one.
func (m *machine) finish(a *attempt, err error) {
	if a.edit != nil {
		m.effect(effect{do: doEdited, edit: a.edit, err: err})
		a.edit = nil
	}
}

// close is the end of the session.
func (m *machine) close(err error) {
	m.closed = err
	m.asking = nil
	m.refuse(err)
	if m.attempt != nil {
		m.lose(m.attempt, err)
	}
	for i := range m.tracks {
		m.closeViews(i)
	}
}

// check returns what is wrong with the machine. Tests ask after each step.
func (m *machine) check() error {
	switch a := m.attempt; {
	case a == nil && len(m.holds) > 0:
		return fmt.Errorf("%d hold, and there is no attempt", len(m.holds))
	case a == nil && m.heir != nil:
		return fmt.Errorf("an heir of nothing")
	case a != nil && (a.stage == swapping) != (m.heir != nil):
		return fmt.Errorf("stage %s, and an heir: %v", a.stage, m.heir != nil)
	case len(m.holds) > 1 && !m.shares():
		return fmt.Errorf("%d hold", len(m.holds))
	case a != nil && len(m.holds) > 0 && a.stage != entered && a.stage != vanished:
		return fmt.Errorf("held in stage %s", a.stage)
	case m.private && m.queue.Len()+len(m.holds) > 1:
		return fmt.Errorf("%d use what is private", m.queue.Len()+len(m.holds))
	case a != nil:
		if err := a.check(); err != nil {
			return fmt.Errorf("attempt %d: %w", a.number, err)
		}
	}
	for _, h := range m.holds {
		if h.ended != nil || h.attempt != m.attempt {
			return fmt.Errorf("a hold that has ended, or of another attempt")
		}
	}
	return nil
}
