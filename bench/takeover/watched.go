package takeover

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/witness"
)

// Watched is fenceline with a witness on the machine: a subject of kills only.
const (
	Watched = "fenceline-witness"
	watched = "fenceline"
)

// watch serves a witness until stop is called.
func (r *runner) watch(ctx context.Context) (stop func(), err error) {
	dir, err := os.MkdirTemp("", "fenceline-bench-")
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "witness")
	client, err := clientv3.New(r.Etcd)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	l, err := witness.Listen(socket)
	if err != nil { // an old kernel: then it is not measured
		r.Say("no witness: " + err.Error())
		return func() {}, errors.Join(client.Close(), os.RemoveAll(dir))
	}
	s := &witness.Server{Cluster: witness.Etcd(client), Log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	r.witness = socket
	return func() {
		cancel()
		<-done
		_ = client.Close()    // it has served its purpose
		_ = os.RemoveAll(dir) // it is a temporary one
	}, nil
}
