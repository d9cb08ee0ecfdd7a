// Command service is an HTTP server that others find by its name: it registers itself, and leaves without a failed call.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/fenceline/fenceline/registry"
	"github.com/fenceline/fenceline/session"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "host:port to listen at; others find it there, or at an address of this machine")
	flag.Parse()
	endpoints := strings.Split(cmp.Or(os.Getenv("FENCELINE_ENDPOINTS"), "127.0.0.1:2379"), ",")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, endpoints, *listen); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, endpoints []string, listen string) error {
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer client.Close()
	s, err := session.Open(ctx, client)
	if err != nil {
		return err
	}
	defer s.Close(context.Background())

	// Listen first: whoever finds us may call at once.
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	addr, err := registry.Reachable(listener) // not 0.0.0.0, which is where to listen
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello from %s\n", addr)
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	me := registry.Instance{Addr: addr, Version: "1.0", Meta: map[string]string{"protocol": "http"}}
	registration, err := registry.Register(ctx, s, "hello", me)
	if err != nil {
		return errors.Join(err, server.Close())
	}
	fmt.Println("registered at", addr)

	select {
	case err := <-served:
		return err
	case <-ctx.Done(): // we were asked to stop
	}
	bounded, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	me.Status = registry.Draining // from here on nobody sends us anything new
	err = registration.Update(bounded, me)
	time.Sleep(200 * time.Millisecond) // time for all to hear of it, and for their last calls to arrive
	return errors.Join(err, server.Shutdown(bounded), registration.Deregister(bounded))
}
