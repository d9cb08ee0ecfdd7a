// Command tour walks through etcd and fenceline side by side: first what etcd's own client does, then what fenceline
// makes of it, up to a service that is registered, discovered, and listed every few seconds.
//
//	go run ./cmd/fenceline dev
//	go run ./examples/tour
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
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/registry"
	"github.com/fenceline/fenceline/session"
)

func main() {
	every := flag.Duration("every", 3*time.Second, "time between two lists of the services")
	flag.Parse()
	endpoints := strings.Split(cmp.Or(os.Getenv("FENCELINE_ENDPOINTS"), "127.0.0.1:2379"), ",")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, endpoints, *every); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, endpoints []string, every time.Duration) error {
	// Connect. clientv3.New succeeds whether or not anybody is there: the first request tells.
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer client.Close()
	s, err := session.Open(ctx, client, session.WithTTL(5*time.Second)) // says so if it cannot reach etcd
	if err != nil {
		return err
	}
	defer s.Close(context.Background()) // gives back all that is held, at once
	for _, step := range []func(context.Context, *clientv3.Client) error{putGetDelete, list, watch, lease, transaction} {
		if err := step(ctx, client); err != nil {
			return err
		}
	}
	if err := locked(ctx, s); err != nil {
		return err
	}
	return services(ctx, s, every)
}

func putGetDelete(ctx context.Context, client *clientv3.Client) error {
	if _, err := client.Put(ctx, "tour/greeting", "hello"); err != nil {
		return err
	}
	got, err := client.Get(ctx, "tour/greeting")
	if err != nil {
		return err
	}
	kv := got.Kvs[0]
	fmt.Printf("get: %s = %s, created at revision %d\n", kv.Key, kv.Value, kv.CreateRevision)
	deleted, err := client.Delete(ctx, "tour/greeting")
	if err != nil {
		return err
	}
	fmt.Printf("delete: %d key\n", deleted.Deleted)
	return nil
}

func list(ctx context.Context, client *clientv3.Client) error {
	for _, name := range []string{"a", "b", "c"} {
		if _, err := client.Put(ctx, "tour/list/"+name, ""); err != nil {
			return err
		}
	}
	listed, err := client.Get(ctx, "tour/list/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return err
	}
	var keys []string
	for _, kv := range listed.Kvs {
		keys = append(keys, string(kv.Key))
	}
	fmt.Println("list:", strings.Join(keys, " "))
	_, err = client.Delete(ctx, "tour/list/", clientv3.WithPrefix())
	return err
}

func watch(ctx context.Context, client *clientv3.Client) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the watch
	events := client.Watch(ctx, "tour/watched", clientv3.WithCreatedNotify())
	<-events // it stands: what happens from here on, it tells
	if _, err := client.Put(ctx, "tour/watched", "news"); err != nil {
		return err
	}
	resp := <-events
	if err := resp.Err(); err != nil { // the end of a watch is no answer: list again, watch again
		return err
	}
	for _, event := range resp.Events {
		fmt.Printf("watch: %s %s = %s\n", event.Type, event.Kv.Key, event.Kv.Value)
	}
	_, err := client.Delete(ctx, "tour/watched")
	return err
}

func lease(ctx context.Context, client *clientv3.Client) error {
	granted, err := client.Grant(ctx, 5) // seconds; a session does this, and renews it
	if err != nil {
		return err
	}
	if _, err := client.Put(ctx, "tour/leased", "", clientv3.WithLease(granted.ID)); err != nil {
		return err
	}
	if _, err := client.Revoke(ctx, granted.ID); err != nil { // as if its owner had died
		return err
	}
	left, err := client.Get(ctx, "tour/leased", clientv3.WithCountOnly())
	if err != nil {
		return err
	}
	fmt.Printf("lease: %d keys are left after its end\n", left.Count)
	return nil
}

func transaction(ctx context.Context, client *clientv3.Client) error {
	const key = "tour/once"
	for _, who := range []string{"first", "second"} {
		done, err := client.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)). // there is none yet
			Then(clientv3.OpPut(key, who)).
			Else(clientv3.OpGet(key)).
			Commit()
		switch {
		case err != nil:
			return err
		case done.Succeeded:
			fmt.Printf("transaction: %s has it\n", who)
		default:
			fmt.Printf("transaction: %s sees that %s has it\n", who, done.Responses[0].GetResponseRange().Kvs[0].Value)
		}
	}
	_, err := client.Delete(ctx, key)
	return err
}

// locked does with a lock what the transaction did by hand, and a write that only the holder can make.
func locked(ctx context.Context, s *session.Session) error {
	return lock.New(s, "tour").Do(ctx, func(ctx context.Context, l *lock.Lock) error {
		done, err := s.Client().Txn(ctx).If(l.Guard()...).Then(clientv3.OpPut("tour/guarded", "by the holder")).Commit()
		if err == nil && !done.Succeeded {
			err = errors.New("the lock is somebody else's by now")
		}
		if err != nil {
			return err
		}
		fmt.Printf("lock: held with fencing token %d\n", l.Token())
		_, err = s.Client().Delete(ctx, "tour/guarded")
		return err
	})
}

// services registers one, finds it, and shows all of them again and again.
func services(ctx context.Context, s *session.Session, every time.Duration) error {
	registration, err := registry.Register(ctx, s, "tour", registry.Instance{Addr: "127.0.0.1:8080", Zone: "here"})
	if err != nil {
		return err
	}
	defer registration.Deregister(context.Background())
	found, err := registry.Lookup(ctx, s.Client(), "tour")
	if err != nil {
		return err
	}
	for _, in := range found {
		fmt.Printf("discovered: tour is offered at %s\n", in.Addr)
	}
	directory, err := registry.OpenDirectory(ctx, s.Client())
	if err != nil {
		return err
	}
	defer directory.Close()
	for {
		for _, service := range directory.Services() {
			entries, err := directory.Instances(ctx, service)
			if err != nil {
				return err
			}
			for _, e := range entries {
				fmt.Printf("services: %s  %s  %s\n", service, e.Addr, e.Status)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
}
