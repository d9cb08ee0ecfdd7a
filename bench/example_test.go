package bench_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/report"
	"github.com/fenceline/fenceline/bench/subject"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func ExampleRun() {
	cfg := bench.Defaults()
	cfg.Etcd = clientv3.Config{Endpoints: []string{"127.0.0.1:2379"}}
	cfg.Subjects, _ = subject.ByName("fenceline", "etcd")
	cfg.Cells = []bench.Cell{{Contenders: 8, Goroutines: 1}}
	result, err := bench.Run(context.Background(), cfg)
	if err != nil {
		log.Fatal(err)
	}
	report.Table(os.Stdout, result)
}

func ExampleJain() {
	fmt.Println(bench.Jain([]int64{10, 10, 10, 10})) // everybody got the same
	fmt.Println(bench.Jain([]int64{40, 0, 0, 0}))    // one of four got everything
	// Output:
	// 1
	// 0.25
}

func ExampleCell() {
	fmt.Println(bench.Cell{Contenders: 4, Goroutines: 16, Fenced: true})
	// Output: 4×16 fenced
}
