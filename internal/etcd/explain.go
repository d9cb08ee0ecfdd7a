package etcd

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
