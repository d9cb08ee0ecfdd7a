// Command fenceline runs commands under cluster-wide locks, shows who holds and who waits, measures lock
// contention, and starts an etcd for development.
package main

import (
	"os"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
