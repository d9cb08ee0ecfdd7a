// Command cronleader is a service to run several times. One replica leads and does what only one may do; each tick of
// the job is run by one of them, whoever leads.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/fenceline/fenceline/cron"
	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/session"
)

func main() {
	name := flag.String("name", fmt.Sprint("pid ", os.Getpid()), "what this replica is called")
	flag.Parse()
	endpoints := strings.Split(cmp.Or(os.Getenv("FENCELINE_ENDPOINTS"), "127.0.0.1:2379"), ",")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, endpoints, *name); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, endpoints []string, name string) error {
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer client.Close()
	// A replica that is killed, or cut off, is missed after the TTL; one that is asked to stop, at once.
	s, err := session.Open(ctx, client, session.WithName("cronleader "+name), session.WithTTL(5*time.Second))
	if err != nil {
		return err
	}
	defer s.Close(context.Background())

	jobs := cron.New(s)
	err = jobs.Add("report", "@every 2s", func(_ context.Context, t cron.Tick) error {
		fmt.Printf("%s: report of %s, attempt %d\n", name, t.Scheduled.Format(time.TimeOnly), t.Attempt)
		return nil
	}, cron.WithRetries(1)) // should its runner die on the way
	if err != nil {
		return err
	}
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error { return jobs.Run(ctx) })
	both.Go(func() error {
		err := election.New(s, "cronleader").Lead(ctx, name, func(ctx context.Context, t *election.Term) error {
			return lead(ctx, name, t)
		})
		if errors.Is(err, context.Canceled) { // asked to stop while it waited
			return nil
		}
		return err
	})
	return both.Wait()
}

// lead is the loop that runs in one replica. It ends with the term, which ends before another one's begins.
func lead(ctx context.Context, name string, t *election.Term) error {
	fmt.Printf("%s: leads, token %v\n", name, t.Token())
	beat := time.NewTicker(time.Second)
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
			if ctx.Err() != nil { // both may be ready, in a process that was stopped
				continue
			}
			fmt.Printf("%s: works\n", name)
		case <-ctx.Done():
			fmt.Printf("%s: leads no more: %v\n", name, context.Cause(ctx))
			return nil
		}
	}
}
