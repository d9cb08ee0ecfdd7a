package keeper

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Final says that asking again cannot help: etcd has understood, refused, and done nothing; or the request was not sent,
// and never would be. What only looks so is not: gRPC gives the code of a refusal to an answer that it will not take, and
// so do proxies that limit rates or do not let somebody through.
func Final(err error) bool {
	if refused, ok := etcdError(err); ok {
		switch refused.Code() {
		case codes.PermissionDenied, codes.Unauthenticated, codes.InvalidArgument, codes.ResourceExhausted, codes.Unimplemented:
			return refused != rpctypes.ErrTooManyRequests && refused != rpctypes.ErrInvalidAuthToken && refused != rpctypes.ErrAuthOldRevision
		}
		return false
	}
	return errors.Is(err, ErrClosed) || clientClosed(err) || tooLargeToSend(err)
}

// NeverFits says that a request was refused for what it is, and not for what etcd is at the moment.
func NeverFits(err error) bool {
	refused, _ := etcdError(err)
	return refused == rpctypes.ErrRequestTooLarge || refused == rpctypes.ErrTooManyOps || tooLargeToSend(err)
}

// Unknown says that a request may or may not have taken effect.
func Unknown(err error) bool { return err != nil && !Final(err) }

// etcdError is what etcd itself has said, which it says in words that are known.
func etcdError(err error) (rpctypes.EtcdError, bool) {
	var e rpctypes.EtcdError
	for ; err != nil; err = errors.Unwrap(err) {
		if errors.As(err, &e) || errors.As(rpctypes.Error(err), &e) {
			return e, true
		}
	}
	return e, false
}

func code(err error) codes.Code {
	if e, ok := etcdError(err); ok {
		return e.Code()
	}
	return status.Code(err)
}

// tooLargeToSend says that gRPC has not sent a request, for its size.
func tooLargeToSend(err error) bool {
	return code(err) == codes.ResourceExhausted && strings.Contains(err.Error(), "trying to send message larger than max")
}

func clientClosed(err error) bool { return errors.Is(err, grpc.ErrClientConnClosing) }

// Explain puts into words what etcd or the way there had against a request on keys.
func Explain(client *clientv3.Client, err error, keys string) error {
	if err == nil {
		return nil
	}
	at := strings.Join(client.Endpoints(), ", ")
	_, answered := etcdError(err)
	switch {
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		return fmt.Errorf("etcd denies access to keys %q*: the user's role needs readwrite on that prefix: %w", keys, err)
	case errors.Is(err, ErrClosed), errors.Is(err, ErrLost):
		return err
	case clientClosed(err):
		return &clientError{fmt.Sprintf("the client of etcd at %s was closed", at), err}
	case Final(err):
		return fmt.Errorf("etcd at %s refuses: %w", at, transport(err))
	case answered:
		return fmt.Errorf("etcd at %s does not serve: %w", at, err)
	case errors.Is(err, context.DeadlineExceeded), code(err) == codes.DeadlineExceeded:
		return fmt.Errorf("cannot reach etcd at %s: no answer: %w", at, transport(err))
	}
	return fmt.Errorf("cannot reach etcd at %s: %w", at, transport(err))
}

// transport shows a gRPC error without its frame
//
//	rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: REASON"
//
// and, where both sides only misunderstand each other, what may be wrong.
func transport(err error) error {
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	text := s.Message()
	if _, quoted, ok := strings.Cut(text, ` desc = "`); ok {
		text = strings.TrimSuffix(quoted, `"`)
	}
	text = strings.TrimPrefix(strings.TrimPrefix(text, "transport: "), "Error while dialing: ")
	switch {
	case strings.Contains(text, "use of closed network connection"): // gRPC gave the attempt up, not the other side
		text = "no answer to an attempt to connect"
	case strings.Contains(text, "server preface"):
		text += " (is it an etcd, and does it want TLS?)"
	case strings.HasSuffix(text, "handshake failed: EOF"), strings.Contains(text, "does not look like a TLS handshake"):
		text += " (does it speak TLS?)"
	}
	return &transportError{text, err}
}

// clientError is the end of a session whose client was closed, and of all that asks by that client.
type clientError struct {
	text string
	err  error
}

func (e *clientError) Error() string        { return e.text }
func (e *clientError) Unwrap() error        { return e.err }
func (e *clientError) Is(target error) bool { return target == ErrClosed }

type transportError struct {
	text string
	err  error
}

func (e *transportError) Error() string { return e.text }
func (e *transportError) Unwrap() error { return e.err }

// Is knows a deadline that came to an end inside gRPC.
func (e *transportError) Is(target error) bool {
	return target == context.DeadlineExceeded && status.Code(e.err) == codes.DeadlineExceeded
}
