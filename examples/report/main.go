// Command report is the program in the README: work that only one process at a time may do, and that hears of it when
// it may not any more.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

func main() {
	endpoints := strings.Split(cmp.Or(os.Getenv("FENCELINE_ENDPOINTS"), "127.0.0.1:2379"), ",")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, endpoints); errors.Is(err, session.ErrLost) {
		log.Fatal("the lock was lost on the way, somebody else may be at it: ", err)
	} else if err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, endpoints []string) error {
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer client.Close()
	s, err := session.Open(ctx, client) // a lease that is kept alive
	if err != nil {
		return err
	}
	defer s.Close(context.Background()) // frees at once what is held

	return lock.New(s, "nightly-report").Do(ctx, func(ctx context.Context, l *lock.Lock) error {
		for page := 1; page <= 3; page++ {
			if ctx.Err() != nil { // ended with the lock, or because we were asked to stop
				return context.Cause(ctx)
			}
			write(page, l)
		}
		return nil
	})
}

// write sends the token along: a resource that remembers the largest one refuses a process that wakes up late.
func write(page int, l *lock.Lock) { fmt.Printf("page %d, fencing token %v\n", page, l.Token()) }
