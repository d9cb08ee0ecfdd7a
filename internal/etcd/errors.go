package etcd

import (
	"context"
	"errors"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What is no error of etcd's, and needs no explanation: package session exports them.
var (
	ErrClosed = errors.New("session: closed")
	ErrLost   = errors.New("session: hold lost")
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

// LeaseGone says that etcd has refused a request, since the lease that it names does not exist.
func LeaseGone(err error) bool { return errors.Is(err, rpctypes.ErrLeaseNotFound) }

// Unknown says that a request may or may not have taken effect.
func Unknown(err error) bool { return err != nil && !Final(err) && !LeaseGone(err) }

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

// Code is what etcd, or gRPC, said of a request.
func Code(err error) codes.Code {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	}
	return code(err)
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
