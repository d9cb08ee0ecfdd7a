// Command client calls http://hello/, wherever that is at the moment, once a second.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/fenceline/fenceline/registry"
)

func main() {
	every := flag.Duration("every", time.Second, "time between two calls")
	flag.Parse()
	endpoints := strings.Split(cmp.Or(os.Getenv("FENCELINE_ENDPOINTS"), "127.0.0.1:2379"), ",")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, endpoints, *every); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, endpoints []string, every time.Duration) error {
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer client.Close()
	directory, err := registry.OpenDirectory(ctx, client) // a live copy: looking somebody up asks nobody
	if err != nil {
		return err
	}
	defer directory.Close()

	caller := &http.Client{Transport: registry.Transport(directory, nil), Timeout: 5 * time.Second}
	for {
		text, err := get(ctx, caller, "http://hello/")
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			fmt.Println("failed:", err)
		default:
			fmt.Print(text)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
}

func get(ctx context.Context, caller *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := caller.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}
