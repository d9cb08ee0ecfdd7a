package line

import "context"

// Inside is the ctx of what runs under a hold: it ends with the caller's or with the hold's, whichever is first, and
// looks at the clock when it is asked for its error, as the hold's own does. stop frees what it needs.
func Inside(caller, hold context.Context) (ctx context.Context, stop func()) {
	inside, cancel := context.WithCancelCause(caller)
	unhook := context.AfterFunc(hold, func() { cancel(context.Cause(hold)) })
	return insideContext{inside, hold}, func() {
		unhook()
		cancel(nil)
	}
}

type insideContext struct {
	context.Context
	hold context.Context
}

func (c insideContext) Err() error {
	if err := c.Context.Err(); err != nil {
		return err
	}
	return c.hold.Err()
}
