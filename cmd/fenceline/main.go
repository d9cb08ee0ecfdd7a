package main
import _ "github.com/fenceline/fenceline/bench"
import _ "github.com/fenceline/fenceline/fence"
import _ "github.com/spf13/cobra"
import _ "go.etcd.io/etcd/client/pkg/v3/srv"
import _ "go.etcd.io/etcd/client/v3"
import _ "go.etcd.io/etcd/server/v3/embed"
import _ "go.uber.org/goleak"
import _ "golang.org/x/sys/unix"
import _ "golang.org/x/term"
func main(){}
