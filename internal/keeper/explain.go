package keeper

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Final says that asking again cannot help: etcd has understood and refused.
func Final(err error) bool {
	switch code(err) {
	case codes.PermissionDenied, codes.Unauthenticated, codes.InvalidArgument, codes.FailedPrecondition,
		codes.ResourceExhausted, codes.Unimplemented:
		return !errors.Is(err, rpctypes.ErrTooManyRequests) &&
			!errors.Is(err, rpctypes.ErrInvalidAuthToken) && !errors.Is(err, rpctypes.ErrAuthOldRevision)
	}
	return errors.Is(err, ErrClosed)
}

// Unknown says that a request may or may not have taken effect.
func Unknown(err error) bool { return err != nil && !Final(err) }

func code(err error) codes.Code {
	var e rpctypes.EtcdError
	if errors.As(err, &e) {
		return e.Code()
	}
	return status.Code(err)
}

// Explain puts into words what etcd or the way there had against a request on keys.
func Explain(client *clientv3.Client, err error, keys string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		return fmt.Errorf("etcd denies access to keys %q*: the user's role needs readwrite on that prefix: %w", keys, err)
	case Final(err):
		return fmt.Errorf("etcd refuses: %w", err)
	}
	at := strings.Join(client.Endpoints(), ", ")
	reason := err
	if s, ok := status.FromError(err); ok {
		reason = &transportError{s.Message(), err}
	}
	if errors.Is(err, context.DeadlineExceeded) || code(err) == codes.DeadlineExceeded {
		return fmt.Errorf("cannot reach etcd at %s: no answer: %w", at, reason)
	}
	return fmt.Errorf("cannot reach etcd at %s: %w", at, reason)
}

// transportError shows a gRPC error without its frame ("rpc error: code = Unavailable desc = …").
type transportError struct {
	text string
	err  error
}

func (e *transportError) Error() string { return e.text }
func (e *transportError) Unwrap() error { return e.err }
