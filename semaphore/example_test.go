package semaphore_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/semaphore"
	"github.com/fenceline/fenceline/session"
)

// At most four units are out at once, in all processes that use the name; a large film takes two of them.
func ExampleSemaphore_Do() {
	client := etcdtest.Connect() // clientv3.New(clientv3.Config{Endpoints: …})
	defer client.Close()
	ctx := context.Background()
	s, err := session.Open(ctx, client)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close(ctx)

	encoders := semaphore.New(s, "encoders", 4)
	err = encoders.Do(ctx, 2, func(ctx context.Context, p *semaphore.Permit) error {
		status, err := encoders.Status(ctx)
		fmt.Printf("%d of %d units are held\n", status.Held, status.Limit)
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	_, err = semaphore.New(s, "encoders", 5).Acquire(ctx, 1) // a program that means another limit
	fmt.Println(errors.Is(err, semaphore.ErrLimit))
	// Output:
	// 2 of 4 units are held
	// true
}
