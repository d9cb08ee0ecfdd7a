package registry_test

import (
	"context"
	"fmt"
	"log"
	"net/http"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/registry"
	"github.com/fenceline/fenceline/session"
)

func ExampleRegister() {
	client := etcdtest.Connect() // clientv3.New(clientv3.Config{Endpoints: …})
	defer client.Close()
	ctx := context.Background()
	s, err := session.Open(ctx, client)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close(ctx)

	me := registry.Instance{Addr: "10.0.0.5:8080", Zone: "eu-1a", Version: "1.4"}
	r, err := registry.Register(ctx, s, "example-web", me)
	if err != nil {
		log.Fatal(err)
	}
	found, err := registry.Lookup(ctx, client, "example-web")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(found[0].Addr, found[0].Status, r.Registered())

	me.Status = registry.Draining // before the end: nobody sends anything new
	if err := r.Update(ctx, me); err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Deregister(ctx))
	// Output:
	// 10.0.0.5:8080 up <nil>
	// <nil>
}

func ExampleWatch() {
	client := etcdtest.Connect()
	defer client.Close()
	for instances, err := range registry.Watch(context.Background(), client, "example-nobody") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(len(instances), "instances")
		break // else it goes on with each change
	}
	// Output: 0 instances
}

// A Directory is a copy in memory: each call of the client picks an instance, and asks etcd nothing.
func ExampleTransport() {
	client := etcdtest.Connect()
	defer client.Close()
	directory, err := registry.OpenDirectory(context.Background(), client, registry.WithZone("eu-1a"))
	if err != nil {
		log.Fatal(err)
	}
	defer directory.Close()
	caller := &http.Client{Transport: registry.Transport(directory, nil)}
	_, err = caller.Get("http://example-nobody/")
	fmt.Println(err)
	// Output: Get "http://example-nobody/": registry: no instance of "example-nobody"
}
