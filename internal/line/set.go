package line

import (
	"context"
	"fmt"

	"github.com/fenceline/fenceline/internal/keeper"
)

// Member is one line of a hold on several, with the options for its entry there.
type Member struct {
	*Ref
	*Options
}

// MemberError is the error of one of several lines.
type MemberError struct {
	Of  *Ref
	Err error
}

func (e *MemberError) Error() string { return fmt.Sprintf("%q: %v", e.Of.Name, e.Err) }
func (e *MemberError) Unwrap() error { return e.Err }

// AcquireAll waits for a hold on one or several lines, with entries of its own that come in by one transaction, at one revision. So all who
// hold or wait for several stand in the same order everywhere, and no two can wait for each other. The entries are not those of the local
// lines, and are never handed on.
//
// A try waits for nobody: a MemberError that is ErrHeld says where others are, and then nothing was written.
//
// After an error nothing is held; when ctx ends it returns at once, and the entries are deleted in the background.
func AcquireAll(ctx context.Context, members []Member, try bool) (*Hold, error) {
	k := members[0].Keeper
	wait := members[0].Wait(try)
	ctx = k.WaitStart(ctx, wait)
	if ctx.Err() != nil {
		err := context.Cause(ctx)
		for _, m := range members {
			m.countFailed(nil, nil, err)
		}
		k.WaitEnd(ctx, wait, keeper.WaitEnd{Err: err})
		return nil, err
	}
	l := newLine(k, tableKey{}, true, members)
	w := &waiter{opts: &Options{}, ctx: ctx, try: try, told: k.Meter != nil}
	if k.Meter != nil {
		l.table.begin(l)
	}
	l.enter(w)
	h, err := l.await(w)
	if err != nil {
		l.countFailed(w, err)
		k.WaitEnd(ctx, wait, keeper.WaitEnd{Waited: w.took, Err: err})
		return nil, err
	}
	h.tell(ctx, wait, w.took)
	return h, nil
}
