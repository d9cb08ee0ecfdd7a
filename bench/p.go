package bench
import _ "github.com/fenceline/fenceline/fence"
import _ "github.com/HdrHistogram/hdrhistogram-go"
import _ "go.etcd.io/etcd/client/v3/concurrency"
import _ "golang.org/x/sync/errgroup"
import _ "google.golang.org/grpc"
