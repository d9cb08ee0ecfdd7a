package app

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Ping asks whether etcd answers, within --command-timeout, and says why not if no member can be connected to.
func (g *Globals) Ping(ctx context.Context, client *clientv3.Client) error {
	return g.Connection.Ping(ctx, client)
}

func (c *Connection) Ping(ctx context.Context, client *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(ctx, c.CommandTimeout)
	defer cancel()
	// client.Get would wait for a connection and, in the end, know of nothing but the time. This request fails with
	// the transport's reason once every member has refused.
	_, err := etcdserverpb.NewKVClient(client.ActiveConnection()).Range(ctx, &etcdserverpb.RangeRequest{Key: []byte("fenceline/"), CountOnly: true})
	at := strings.Join(client.Endpoints(), ", ")
	switch etcd := rpctypes.Error(err); {
	case err == nil, errors.Is(etcd, rpctypes.ErrPermissionDenied): // an answer, to somebody it knows
		return nil
	case errors.Is(etcd, rpctypes.ErrUserEmpty):
		return UnavailableErrorf("etcd at %s lets only users in, see --user: %w", at, etcd)
	case status.Code(err) == codes.DeadlineExceeded:
		return UnavailableErrorf("cannot reach etcd at %s: no answer within %v", at, c.CommandTimeout)
	case status.Code(err) == codes.Unavailable:
		reason := transportReason(err)
		return UnavailableErrorf("cannot reach etcd at %s: %s%s", at, reason, hint(client.Endpoints(), reason))
	default:
		return UnavailableErrorf("etcd at %s: %w", at, etcd)
	}
}

// PingAnonymously is ping with a client of its own. That etcd wants a user is a good answer.
func (c *Connection) PingAnonymously(ctx context.Context, cfg clientv3.Config) error {
	client, err := clientv3.New(cfg)
	if err != nil {
		return UnavailableErrorf("cannot connect to %s: %w", strings.Join(cfg.Endpoints, ", "), err)
	}
	defer client.Close()
	err = c.Ping(ctx, client)
	if errors.Is(err, rpctypes.ErrUserEmpty) {
		return nil
	}
	return err
}

// transportReason takes the reason out of gRPC's frame:
// last connection error: connection error: desc = "transport: Error while dialing: REASON".
func transportReason(err error) string {
	text := status.Convert(err).Message()
	if _, quoted, found := strings.Cut(text, `desc = "`); found {
		text = strings.TrimSuffix(quoted, `"`)
	}
	text = strings.TrimPrefix(text, "transport: ")
	if strings.Contains(text, "use of closed network connection") { // gRPC gave the attempt up, not the other side
		return "no answer to an attempt to connect"
	}
	return strings.TrimPrefix(text, "Error while dialing: ")
}

// hint is what may help, where the reason tells. Who speaks TLS to etcd, or does not, where it expects the other, is
// hung up on.
func hint(endpoints []string, reason string) string {
	hungUp := strings.HasSuffix(reason, "EOF") || strings.Contains(reason, "reset by peer")
	switch {
	case strings.Contains(reason, "connection refused") && loopback(endpoints[0]):
		return `; start one with "fenceline dev"`
	case strings.Contains(reason, "server preface") && hungUp:
		return "; does it want https:// or --cacert?"
	case strings.Contains(reason, "handshake failed") && hungUp:
		return "; does it want http://?"
	}
	return ""
}

func loopback(endpoint string) bool {
	if u, err := url.Parse(endpoint); err == nil && u.Host != "" {
		endpoint = u.Host
	}
	host, _, _ := net.SplitHostPort(endpoint)
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
