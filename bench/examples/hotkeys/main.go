// Command hotkeys measures a workload of its own with the benchmark's subjects and reports: the workload is workload.go, and
// this is all there is to running it. It measures the etcd that FENCELINE_ENDPOINTS names, or the one at 127.0.0.1:2379:
//
//	go run ./cmd/fenceline dev -- go run ./bench/examples/hotkeys
package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/report"
	"github.com/fenceline/fenceline/bench/subject"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	endpoints := strings.Split(cmp.Or(os.Getenv("FENCELINE_ENDPOINTS"), "127.0.0.1:2379"), ",")
	if err := run(ctx, endpoints, 2*time.Second, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, endpoints []string, each time.Duration, out io.Writer) error {
	cfg := bench.Defaults()
	cfg.Etcd = clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()} // what goes wrong, errors tell
	cfg.Progress = report.Lines(os.Stderr)
	cfg.Duration = each
	cfg.Cells = []bench.Cell{{Contenders: 8, Goroutines: 1, Load: Load{Customers: 16}}}
	var err error
	if cfg.Subjects, err = subject.ByName("fenceline", "etcd"); err != nil {
		return err
	}
	result, err := bench.Run(ctx, cfg)
	if result == nil {
		return err
	}
	if failed := report.Table(out, result); failed != nil { // report.HTML, JSON and CSV take the same
		return failed
	}
	return err
}
