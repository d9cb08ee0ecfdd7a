package underhold

import (
	"context"
	"errors"
	"io"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/session"
)

// InSession runs one verb in a session of its own, until a signal at most. verb returns an ExitError.
func InSession(g *app.Globals, ctx context.Context, namespace, what string, stderr io.Writer, verb func(context.Context, *Holder) error) error {
	ctx, stop := app.UntilSignal(ctx)
	defer stop()
	h := &Holder{G: g, Say: app.Talk(stderr, "fenceline: "+what+": "), Talks: app.IsTerminal(stderr),
		Flags: &Flags{Command: []string{"fenceline"}, Namespace: namespace, Ttl: app.Seconds(DefaultTTL)}}
	err := h.Open(ctx, &session.Trace{})
	if err == nil {
		err = verb(ctx, h)
	}
	closing, cancel := h.Bounded(context.WithoutCancel(ctx))
	defer cancel()
	h.Close(closing)
	var signal *app.SignalError
	if err != nil && errors.As(context.Cause(ctx), &signal) {
		return &app.ExitError{Code: app.ExitSignal + int(signal.Signal)}
	}
	return err
}
