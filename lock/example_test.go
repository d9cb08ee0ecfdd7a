package lock_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

func ExampleMutex_Do() {
	client := etcdtest.Connect() // clientv3.New(clientv3.Config{Endpoints: …})
	defer client.Close()
	ctx := context.Background()
	s, err := session.Open(ctx, client)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close(ctx)

	err = lock.New(s, "report").Do(ctx, func(ctx context.Context, l *lock.Lock) error {
		if ctx.Err() != nil { // the lock is lost: stop
			return context.Cause(ctx)
		}
		fmt.Println("alone")
		return nil
	})
	if errors.Is(err, session.ErrLost) {
		log.Print("somebody else may have been at it as well: ", err)
	}
	// Output: alone
}

func ExampleMutex_TryAcquire() {
	client := etcdtest.Connect()
	defer client.Close()
	ctx := context.Background()
	s, err := session.Open(ctx, client)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close(ctx)

	m := lock.New(s, "cache warm-up")
	l, err := m.TryAcquire(ctx)
	if err != nil {
		log.Fatal(err)
	}
	_, err = m.TryAcquire(ctx)
	fmt.Println(errors.Is(err, lock.ErrHeld))
	fmt.Println(l.Release(ctx))
	// Output:
	// true
	// <nil>
}

// A transaction with the guard in its If is refused once the hold is over, whatever the reason.
func ExampleLock_Guard() {
	client := etcdtest.Connect()
	defer client.Close()
	ctx := context.Background()
	s, err := session.Open(ctx, client)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close(ctx)

	l, err := lock.New(s, "config").Acquire(ctx)
	if err != nil {
		log.Fatal(err)
	}
	guard := l.Guard()
	write := func(value string) bool {
		resp, err := client.Txn(ctx).If(guard...).Then(clientv3.OpPut("config", value)).Commit()
		return err == nil && resp.Succeeded
	}
	fmt.Println("while it stands:", write("a"))
	if err := l.Release(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("after it:", write("b"))
	// Output:
	// while it stands: true
	// after it: false
}

// A resource elsewhere remembers the largest token.
func ExampleLock_Token() {
	client := etcdtest.Connect()
	defer client.Close()
	ctx := context.Background()
	s, err := session.Open(ctx, client)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close(ctx)

	var gate fence.Gate // at the resource
	m := lock.New(s, "account")
	var late fence.Token
	for range 2 {
		l, err := m.Acquire(ctx)
		if err != nil {
			log.Fatal(err)
		}
		err = gate.Do("account", l.Token(), func() error { return nil })
		fmt.Println("in time:", err)
		if late == 0 {
			late = l.Token()
		}
		if err := l.Release(ctx); err != nil {
			log.Fatal(err)
		}
	}
	err = gate.Do("account", late, func() error { return nil })
	fmt.Println("late:", errors.Is(err, fence.ErrStale))
	// Output:
	// in time: <nil>
	// in time: <nil>
	// late: true
}

func ExampleWithLinger() {
	client := etcdtest.Connect()
	defer client.Close()
	ctx := context.Background()
	s, err := session.Open(ctx, client)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close(ctx)

	// One process that takes the same lock again and again talks to etcd once, until somebody else wants it.
	m := lock.New(s, "shard 7", lock.WithLinger(time.Second))
	total := 0
	for range 1000 {
		if err := m.Do(ctx, func(context.Context, *lock.Lock) error { total++; return nil }); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(total)
	// Output: 1000
}

// Readers hold together, a writer alone, first come, first served.
func ExampleRWMutex() {
	client := etcdtest.Connect()
	defer client.Close()
	ctx := context.Background()
	s, err := session.Open(ctx, client)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close(ctx)

	catalogue := lock.NewRW(s, "catalogue")
	first, err := catalogue.AcquireRead(ctx)
	if err != nil {
		log.Fatal(err)
	}
	second, err := catalogue.AcquireRead(ctx)
	if err != nil {
		log.Fatal(err)
	}
	_, err = catalogue.TryAcquireWrite(ctx)
	fmt.Println(errors.Is(err, lock.ErrHeld))
	fmt.Println(first.Release(ctx), second.Release(ctx))
	// Output:
	// true
	// <nil> <nil>
}

// Both accounts are taken in one transaction, so that two transfers cannot wait for each other.
func ExampleAcquireAll() {
	client := etcdtest.Connect()
	defer client.Close()
	ctx := context.Background()
	s, err := session.Open(ctx, client)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close(ctx)

	from, to := lock.New(s, "account 1"), lock.New(s, "account 2")
	both, err := lock.AcquireAll(ctx, from, to)
	if err != nil {
		log.Fatal(err)
	}
	done, err := client.Txn(ctx).If(both.Guard()...).Commit() // Then: what both are needed for
	fmt.Println(done.Succeeded, err)
	fmt.Println(both.Release(ctx))
	// Output:
	// true <nil>
	// <nil>
}

// A refusal says who is in the way.
func ExampleHeldError() {
	client := etcdtest.Connect()
	defer client.Close()
	ctx := context.Background()
	server, err := session.Open(ctx, client, session.WithName("report-server"))
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close(ctx)
	mine, err := session.Open(ctx, client)
	if err != nil {
		log.Fatal(err)
	}
	defer mine.Close(ctx)

	if _, err := lock.New(server, "nightly").Acquire(ctx); err != nil {
		log.Fatal(err)
	}
	_, err = lock.New(mine, "nightly").TryAcquire(ctx)
	var held *lock.HeldError
	if errors.As(err, &held) {
		fmt.Println(held.Name, held.Holder.Standing, held.Holder.Record.Name)
	}
	// Output:
	// nightly holds report-server
}
