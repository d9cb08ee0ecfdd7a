package adapt_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// Migrate stands for golang-migrate's, which locks inside its database drivers, some of them within the process only.
type Migrate struct{ GracefulStop chan bool }

var errNoChange = errors.New("no change") // migrate.ErrNoChange

func (m *Migrate) Up() error { fmt.Println("migrating"); return nil }

// golang-migrate needs no adapter: the whole run goes under a lock. Up takes no ctx; GracefulStop, which has room for
// one, has it stop before the next migration when the lock is lost.
func Example_golangMigrate() {
	client := etcdtest.Connect() // clientv3.New(clientv3.Config{Endpoints: …})
	defer client.Close()
	ctx := context.Background()
	s, err := session.Open(ctx, client)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close(ctx)

	m := &Migrate{GracefulStop: make(chan bool, 1)} // migrate.New(source, database)
	err = lock.New(s, "migrate orders").Do(ctx, func(ctx context.Context, _ *lock.Lock) error {
		stop := context.AfterFunc(ctx, func() { m.GracefulStop <- true })
		defer stop()
		if err := m.Up(); !errors.Is(err, errNoChange) {
			return err
		}
		return nil // somebody else was first
	})
	fmt.Println(err)
	// Output:
	// migrating
	// <nil>
}
