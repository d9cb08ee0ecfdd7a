package election

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/mirror"
)

// reader reads one election.
type reader struct{ *mirror.Range }

func newReader(client *clientv3.Client, name string, opts []WatchOption) (*reader, error) {
	prefix, err := resolve(name, opts)
	if err != nil {
		return nil, err
	}
	r, err := mirror.NewRange(client, prefix, "WithNamespace")
	if err != nil {
		return nil, err
	}
	return &reader{r}, nil
}

// head asks for the first in line.
func (r *reader) head() *pb.RangeRequest {
	req := r.All()
	req.SortTarget, req.SortOrder, req.Limit = pb.RangeRequest_CREATE, pb.RangeRequest_ASCEND, 3 // a mark of a transfer may be among them
	return req
}
