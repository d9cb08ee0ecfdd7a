package fencetest_test

import (
	"fmt"
	"math/rand/v2"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// operation is one to do. Revisions in it count from the present one, and keys are below a prefix, when it is done.
type operation struct {
	message  proto.Message // a request, or one to watch
	rev      int64         // of a range, a compaction or a watch: how far from the present; unset says that there is none
	min, max int64         // the same for its bounds
}

func (o operation) String() string {
	return fmt.Sprintf("%T %s (rev %d)", o.message, prototext.MarshalOptions{}.Format(o.message), o.rev)
}

// unset is no revision.
const unset = -1 << 40

var names = []string{"a", "b", "c", "d", "e"}

func randomOperation(r *rand.Rand) operation {
	o := operation{rev: unset, min: unset, max: unset}
	if r.IntN(4) == 0 {
		o.rev = r.Int64N(12) - 9
	}
	switch n := r.IntN(100); {
	case n < 25:
		o.message = randomRange(r)
		if r.IntN(4) == 0 {
			o.min = -r.Int64N(20)
		}
		if r.IntN(4) == 0 {
			o.max = -r.Int64N(20)
		}
	case n < 50:
		o.message = randomPut(r)
	case n < 58:
		o.message = randomDelete(r)
	case n < 78:
		o.message = randomTxn(r, 2)
	case n < 80:
		o.message = &pb.CompactionRequest{}
		o.rev = r.Int64N(30) - 28
	case n < 84:
		o.message = &pb.LeaseGrantRequest{ID: leaseID(r), TTL: []int64{1000, 100_000, 9_000_000_001}[r.IntN(3)]} // none ends by itself here
	case n < 86:
		o.message = &pb.LeaseRevokeRequest{ID: leaseID(r)}
	case n < 88:
		o.message = &pb.LeaseTimeToLiveRequest{ID: leaseID(r), Keys: r.IntN(2) == 0}
	case n < 90:
		o.message = &pb.LeaseKeepAliveRequest{ID: leaseID(r)}
	case n < 96:
		w := &pb.WatchCreateRequest{WatchId: r.Int64N(6), PrevKv: r.IntN(2) == 0, Fragment: r.IntN(2) == 0}
		w.Key, w.RangeEnd = randomSpan(r)
		if r.IntN(4) == 0 {
			w.Filters = append(w.Filters, pb.WatchCreateRequest_FilterType(r.IntN(2)))
		}
		o.message = w
	default:
		o.message = &pb.WatchCancelRequest{WatchId: r.Int64N(8)}
	}
	return o
}

func leaseID(r *rand.Rand) int64 { return 100 + r.Int64N(4) }

func randomSpan(r *rand.Rand) (from, end []byte) {
	from = []byte(names[r.IntN(len(names))])
	switch r.IntN(4) {
	case 0:
		end = []byte(names[r.IntN(len(names))])
	case 1:
		end = []byte("z")
	}
	return from, end
}

func randomRange(r *rand.Rand) *pb.RangeRequest {
	q := &pb.RangeRequest{Limit: []int64{0, 0, 0, 1, 2, 3}[r.IntN(6)], SortOrder: pb.RangeRequest_SortOrder(r.IntN(3)),
		SortTarget: pb.RangeRequest_SortTarget(r.IntN(5)), CountOnly: r.IntN(8) == 0, KeysOnly: r.IntN(6) == 0, Serializable: r.IntN(4) == 0}
	if r.IntN(50) == 0 {
		q.SortTarget = 9
	}
	q.Key, q.RangeEnd = randomSpan(r)
	return q
}

func randomPut(r *rand.Rand) *pb.PutRequest {
	p := &pb.PutRequest{Key: []byte(names[r.IntN(len(names))]), Value: []byte(fmt.Sprint(r.IntN(4))), PrevKv: r.IntN(3) == 0}
	if r.IntN(3) == 0 {
		p.Lease = leaseID(r)
	}
	if r.IntN(10) == 0 {
		p.IgnoreValue = true
		if r.IntN(4) > 0 {
			p.Value = nil
		}
	}
	if r.IntN(10) == 0 {
		p.IgnoreLease = true
		if r.IntN(4) > 0 {
			p.Lease = 0
		}
	}
	if r.IntN(50) == 0 {
		p.Value = make([]byte, 1536*1024)
	}
	return p
}

func randomDelete(r *rand.Rand) *pb.DeleteRangeRequest {
	d := &pb.DeleteRangeRequest{PrevKv: r.IntN(2) == 0}
	d.Key, d.RangeEnd = randomSpan(r)
	return d
}

func randomTxn(r *rand.Rand, depth int) *pb.TxnRequest {
	q := &pb.TxnRequest{}
	for range r.IntN(3) {
		c := &pb.Compare{Result: pb.Compare_CompareResult(r.IntN(4)), Target: pb.Compare_CompareTarget(r.IntN(5))}
		switch c.Target {
		case pb.Compare_VERSION:
			c.TargetUnion = &pb.Compare_Version{Version: r.Int64N(3)}
		case pb.Compare_CREATE:
			c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: r.Int64N(2) * r.Int64N(500)}
		case pb.Compare_MOD:
			c.TargetUnion = &pb.Compare_ModRevision{ModRevision: r.Int64N(2) * r.Int64N(500)}
		case pb.Compare_VALUE:
			c.TargetUnion = &pb.Compare_Value{Value: []byte(fmt.Sprint(r.IntN(4)))}
		case pb.Compare_LEASE:
			c.TargetUnion = &pb.Compare_Lease{Lease: r.Int64N(2) * leaseID(r)}
		}
		c.Key, c.RangeEnd = randomSpan(r)
		q.Compare = append(q.Compare, c)
	}
	ops := func() (all []*pb.RequestOp) {
		n := r.IntN(4)
		if r.IntN(60) == 0 {
			n = 130
		}
		for range n {
			switch k := r.IntN(12); {
			case k < 4:
				all = append(all, &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: randomRange(r)}})
			case k < 8:
				p := randomPut(r)
				if len(p.Value) > 100 {
					p.Value = nil
				}
				all = append(all, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: p}})
			case k < 10:
				all = append(all, &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: randomDelete(r)}})
			case k < 11 && depth > 0:
				all = append(all, &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: randomTxn(r, depth-1)}})
			}
		}
		return all
	}
	q.Success, q.Failure = ops(), ops()
	return q
}

// placed is the request, with keys and revisions as they are now.
func (o operation) placed(prefix string, now int64) proto.Message {
	m := proto.Clone(o.message)
	abs := func(rel int64) int64 {
		if rel == unset {
			return 0
		}
		return max(now+rel, 0)
	}
	name := func(b *[]byte) {
		if len(*b) > 0 {
			*b = append([]byte(prefix), *b...)
		}
	}
	var walk func(proto.Message)
	walk = func(m proto.Message) {
		switch m := m.(type) {
		case *pb.RangeRequest:
			name(&m.Key)
			name(&m.RangeEnd)
		case *pb.PutRequest:
			name(&m.Key)
		case *pb.DeleteRangeRequest:
			name(&m.Key)
			name(&m.RangeEnd)
		case *pb.WatchCreateRequest:
			name(&m.Key)
			name(&m.RangeEnd)
		case *pb.TxnRequest:
			for _, c := range m.Compare {
				name(&c.Key)
				name(&c.RangeEnd)
			}
			for _, op := range slices.Concat(m.Success, m.Failure) {
				switch r := op.Request.(type) {
				case *pb.RequestOp_RequestRange:
					walk(r.RequestRange)
				case *pb.RequestOp_RequestPut:
					walk(r.RequestPut)
				case *pb.RequestOp_RequestDeleteRange:
					walk(r.RequestDeleteRange)
				case *pb.RequestOp_RequestTxn:
					walk(r.RequestTxn)
				}
			}
		}
	}
	walk(m)
	switch m := m.(type) {
	case *pb.RangeRequest:
		m.Revision, m.MinModRevision, m.MaxCreateRevision = abs(o.rev), abs(o.min), abs(o.max)
		if o.rev == unset {
			m.MinCreateRevision, m.MaxModRevision, m.MinModRevision, m.MaxCreateRevision = abs(o.min), abs(o.max), 0, 0
		}
	case *pb.CompactionRequest:
		m.Revision = abs(o.rev)
	case *pb.WatchCreateRequest:
		m.StartRevision = abs(o.rev)
	}
	return m
}
