package app

import (
	"context"
	"fmt"
	"net"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Listen has f serve what etcd shows at an address, until a signal: once etcd has answered, and the address can be listened on. f closes the listener.
func (g *Globals) Listen(ctx context.Context, address string, f func(context.Context, *clientv3.Client, net.Listener) error) error {
	ctx, stop := UntilSignal(ctx)
	defer stop()
	client, err := g.Connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := g.Ping(ctx, client); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return &ExitError{Code: ExitFailure, Err: fmt.Errorf("--listen %s: %w", address, err)}
	}
	return f(ctx, client, listener)
}

// CheckListen checks such an address, and returns its host.
func CheckListen(address string) (host string, err error) {
	if host, _, err = net.SplitHostPort(address); err != nil {
		return "", UsageErrorf("--listen %q: want host:port: %w", address, err)
	}
	return host, nil
}
