package line

import (
	"context"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/fenceline/fenceline/internal/queue"
)

// what happens.
type what int

const (
	onTick     what = iota // time has passed
	onWant                 // w wants to hold
	onCancel               // w has had enough
	onRelease              // h is given back
	onHandOver             // h is given to a caller: next
	onChange               // h's entry is to be rewritten: edit
	onAnswer               // req: ans
	onReason               // why an entry of a has vanished: err
	onOpened               // view is told of all that happens after revision
	onListed               // view's range was read at revision, or err
	onEvents               // view has events
	onEnded                // view was, by err
	onMet                  // acquaintance is who was before us
	onClose                // the session is, by err
)

// event is one thing that happens, with what belongs to it.
type event struct {
	what     what
	w        *waiter
	h        *Hold
	caller   context.Context
	next     *Hold // what came of it
	a        *attempt
	edit     *edit
	req      *request
	ans      *answer
	view     *view
	revision int64
	asked    int64 // the revision that a list was asked for
	entries  []queue.Entry
	events   []*mvccpb.Event
	i        int
	met      acquaintance
	err      error
}

// do is what is to be done.
type do int

const (
	doReply      do = iota // w is answered
	doFinish               // h has ended, by err
	doDemoted              // h has become a reader's
	doSettle               // fate is told err
	doEdited               // the edit has ended, by err
	doSend                 // req
	doRecall               // the request for a lease that is under way: nobody wants one any more
	doTend                 // a stands for us: its lease's loss is ours
	doForget               // it does not any more
	doShare                // a hangs on its lease beside another
	doFree                 // the slot of a's i-th entry
	doAbandon              // a is given back without us
	doUnpark               // a's i-th entry, which was parked, is deleted when its time has come
	doAsk                  // for a renewal, since an entry of a has vanished
	doRevoked              // a's lease is gone
	doRewound              // etcd has gone back to revision, from before a's i-th entry
	doWatch                // view is to be
	doUnwatch              // no more
	doList                 // view's range is to be read, at revision or later
	doViewFailed           // by err, which is logged
	doRestart              // the watch stream tells too little
	doQueuedUp             // a trace is told of: so many are ahead in the i-th line
	doLost                 // and that what it holds is, by err
	doMeet                 // the session of an entry in the i-th line
	doRetire               // the line leaves the table
)

// effect is one thing to be done, with what belongs to it. Effects are done in order, before the next step.
type effect struct {
	do       do
	i        int32
	waits    bool  // entry's standing
	revision int64 // or a number
	w        *waiter
	h        *Hold
	a        *attempt
	edit     *edit
	req      *request
	view     *view
	fate     chan error
	entry    *queue.Entry
	err      error
}
