package cron_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/fenceline/fenceline/cron"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

func ExampleScheduler() {
	client := etcdtest.Connect() // clientv3.New(clientv3.Config{Endpoints: …})
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second) // until the program is to end
	defer cancel()
	s, err := session.Open(ctx, client)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close(context.Background())

	c := cron.New(s)
	report := func(ctx context.Context, t cron.Tick) error {
		if ctx.Err() != nil { // the claim is lost: stop, somebody else may be at it
			return context.Cause(ctx)
		}
		fmt.Println("report, attempt", t.Attempt)
		cancel()
		return nil
	}
	err = c.Add("report", "@every 1s", report, cron.WithMissed(cron.RunOnce, time.Hour), cron.WithRetries(3))
	if err != nil {
		log.Fatal(err) // a schedule that cannot be read, for instance
	}
	if err := c.Run(ctx); err != nil {
		log.Fatal(err)
	}

	runs, err := c.History(context.Background(), "report")
	fmt.Println(len(runs), err)
	jobs, err := cron.List(context.Background(), client)
	if err != nil {
		log.Fatal(err)
	}
	for _, j := range jobs {
		if j.Name == "report" {
			fmt.Println(j.Schedule, j.Zone, j.Latest.Err == "")
		}
	}
	// Output:
	// report, attempt 1
	// 1 <nil>
	// @every 1s UTC true
}
