package cli

import (
	"context"
	"errors"
	"io"

	"github.com/fenceline/fenceline/session"
)

// inSession runs one verb in a session of its own, until a signal at most. verb returns an ExitError.
func inSession(g *globals, ctx context.Context, namespace, what string, stderr io.Writer, verb func(context.Context, *holder) error) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	h := &holder{g: g, say: talk(stderr, "fenceline: "+what+": "), talks: isTerminal(stderr),
		flags: &holdFlags{command: []string{"fenceline"}, namespace: namespace, ttl: seconds(defaultTTL)}}
	err := h.open(ctx, &session.Trace{})
	if err == nil {
		err = verb(ctx, h)
	}
	closing, cancel := h.bounded(context.WithoutCancel(ctx))
	defer cancel()
	h.close(closing)
	var signal *signalError
	if err != nil && errors.As(context.Cause(ctx), &signal) {
		return &ExitError{Code: exitSignal + int(signal.Signal)}
	}
	return err
}
