package barrier_test

import (
	"context"
	"fmt"
	"log"
	"sync"

	"github.com/fenceline/fenceline/barrier"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

// Three parties start together, round after round. Here they are goroutines; in life they are processes.
func ExampleBarrier_Enter() {
	client := etcdtest.Connect() // clientv3.New(clientv3.Config{Endpoints: …})
	defer client.Close()
	ctx := context.Background()
	s, err := session.Open(ctx, client)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close(ctx)

	start := barrier.New(s, "load test", 3)
	var parties sync.WaitGroup
	for range 3 {
		parties.Go(func() {
			for range 2 {
				pass, err := start.Enter(ctx) // until all three are in
				if err != nil {
					log.Print(err)
					return
				}
				if err := pass.Leave(ctx); err != nil { // until all three are out
					log.Print(err)
				}
			}
		})
	}
	parties.Wait()
	fmt.Println("two rounds")
	// Output: two rounds
}

// A gate holds everybody back until somebody opens it, who need not be the one who has closed it.
func ExampleGate() {
	client := etcdtest.Connect()
	defer client.Close()
	ctx := context.Background()
	s, err := session.Open(ctx, client)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close(ctx)

	gate := barrier.NewGate(s, "maintenance")
	if err := gate.Close(ctx); err != nil {
		log.Fatal(err)
	}
	passed := make(chan error)
	go func() { passed <- gate.Wait(ctx) }()
	if err := gate.Open(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-passed)
	// Output: <nil>
}

// A latch opens when so many different things are done, each of which counts once.
func ExampleLatch() {
	client := etcdtest.Connect()
	defer client.Close()
	ctx := context.Background()
	s, err := session.Open(ctx, client)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close(ctx)

	shards := barrier.NewLatch(s, "shards loaded", 2)
	for _, shard := range []string{"a", "a", "b"} { // a has said so twice
		if err := shards.CountDown(ctx, shard); err != nil {
			log.Fatal(err)
		}
		left, err := shards.Left(ctx)
		fmt.Println(left, err)
	}
	fmt.Println(shards.Wait(ctx))
	// Output:
	// 1 <nil>
	// 1 <nil>
	// 0 <nil>
	// <nil>
}
