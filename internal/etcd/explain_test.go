package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestErrorsNameTheEndpointOrTheKeys(t *testing.T) {
	for _, c := range []struct {
		err   error
		final bool
		says  string
	}{
		{rpctypes.ErrPermissionDenied, true, `denies access to keys "ns/"`},
		{rpctypes.ErrNoSpace, true, endpoint + " refuses: etcdserver: mvcc: database space exceeded"},
		{rpctypes.ErrUserEmpty, true, endpoint + " refuses: etcdserver: user name is empty"},
		{rpctypes.ErrAuthFailed, true, endpoint + " refuses: etcdserver: authentication failed"},
		{rpctypes.ErrTooManyRequests, false, endpoint + " does not serve: etcdserver: too many requests"},
		{rpctypes.ErrInvalidAuthToken, false, endpoint + " does not serve: etcdserver: invalid auth token"},
		{rpctypes.ErrAuthOldRevision, false, endpoint + " does not serve"},
		{rpctypes.ErrNoLeader, false, endpoint + " does not serve: etcdserver: no leader"},
		{rpctypes.ErrTimeout, false, endpoint + " does not serve: etcdserver: request timed out"},
		{rpctypes.ErrNotLeader, false, endpoint + " does not serve"},
		{status.Error(codes.Unavailable, "connection refused"), false, "cannot reach etcd at " + endpoint + ": connection refused"},
		{status.Error(codes.Unavailable, `last connection error: connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:1: connect: connection refused"`),
			false, "cannot reach etcd at " + endpoint + ": dial tcp 127.0.0.1:1: connect: connection refused"},
		{status.Error(codes.DeadlineExceeded, "too slow"), false, "cannot reach etcd at " + endpoint + ": no answer: too slow"},
		{status.Error(codes.Unimplemented, "unknown service"), false, "cannot reach etcd at " + endpoint + ": unknown service"}, // no etcd, but perhaps the next endpoint is one
		{status.Error(codes.Unimplemented, "unexpected HTTP status code received from server: 404 (Not Found)"), false, "404"},
		{status.Error(codes.ResourceExhausted, "grpc: received message larger than max (9000 vs. 8192)"), false, "larger than max"},
		{status.Error(codes.ResourceExhausted, "rate limit exceeded"), false, "rate limit exceeded"}, // a proxy's
		{status.Error(codes.PermissionDenied, "RBAC: access denied"), false, "RBAC: access denied"},
		{status.Error(codes.Unauthenticated, "jwt expired"), false, "jwt expired"},
		{status.Error(codes.InvalidArgument, "bad gateway"), false, "bad gateway"},
		{status.Error(codes.ResourceExhausted, "trying to send message larger than max (9000 vs. 8192)"), true, endpoint + " refuses: trying to send"}, // and did not
		{rpctypes.ErrGRPCNoSpace, true, "database space exceeded"},
		{rpctypes.ErrRequestTooLarge, true, "request is too large"},
		{context.DeadlineExceeded, false, "cannot reach etcd at " + endpoint + ": no answer"},
		{context.Canceled, false, "cannot reach etcd at " + endpoint},
		{grpc.ErrClientConnClosing, true, "client of etcd at " + endpoint + " was closed"},
		{ErrClosed, true, "session: closed"},
		{fmt.Errorf("the lease does not exist: %w", ErrLost), false, "does not exist"},
		{errors.New("odd"), false, "cannot reach etcd at " + endpoint + ": odd"},
	} {
		for _, err := range []error{c.err, fmt.Errorf("wrapped: %w", c.err)} {
			if got := Final(err); got != c.final {
				t.Errorf("Final(%v) = %v", err, got)
			}
			if got := Unknown(err); got == c.final {
				t.Errorf("Unknown(%v) = %v", err, got)
			}
			got := Explain(clientOfNobody(t), err, "ns/")
			if !errors.Is(got, c.err) {
				t.Errorf("%q is not the %q it explains", got, c.err)
			}
		}
		if got := Explain(clientOfNobody(t), c.err, "ns/").Error(); !strings.Contains(got, c.says) || strings.Contains(got, "rpc error") {
			t.Errorf("Explain(%v) = %q, want %q in it", c.err, got, c.says)
		}
	}
	if late := Explain(clientOfNobody(t), status.Error(codes.DeadlineExceeded, "too slow"), "ns/"); !errors.Is(late, context.DeadlineExceeded) {
		t.Errorf("%q is no context.DeadlineExceeded", late)
	}
	if Explain(clientOfNobody(t), nil, "ns/") != nil || Final(nil) || Unknown(nil) {
		t.Error("nil is an error")
	}
}

const endpoint = "http://127.0.0.1:1"

// clientOfNobody is at endpoint, where there is no etcd.
func clientOfNobody(t *testing.T) *clientv3.Client {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() }) // it returns the end of its ctx
	return client
}
