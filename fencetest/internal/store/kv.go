package store

import (
	"bytes"
	"sort"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// Range reads, as of the revision upTo: that is the Store's own, or an earlier one for a member that lags.
func (s *Store) Range(r *pb.RangeRequest, upTo int64) (*pb.RangeResponse, error) {
	if err := CheckRange(r); err != nil {
		return nil, err
	}
	if err := s.checkRevision(r.Revision, upTo); err != nil {
		return nil, err
	}
	return s.read(r, upTo), nil
}

// CheckRange and the other checks are what etcd refuses before it looks at its state.
func CheckRange(r *pb.RangeRequest) error {
	if len(r.Key) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	_, order := pb.RangeRequest_SortOrder_name[int32(r.SortOrder)]
	_, target := pb.RangeRequest_SortTarget_name[int32(r.SortTarget)]
	if !order || !target {
		return rpctypes.ErrGRPCInvalidSortOption
	}
	return nil
}

func (s *Store) checkRevision(revision, upTo int64) error {
	switch {
	case revision > upTo:
		return rpctypes.ErrGRPCFutureRev
	case revision > 0 && revision < s.compacted:
		return rpctypes.ErrGRPCCompacted
	}
	return nil
}

func (s *Store) read(r *pb.RangeRequest, now int64) *pb.RangeResponse {
	at := now
	if r.Revision > 0 {
		at = r.Revision
	}
	resp := &pb.RangeResponse{Header: header(now)}
	// What is asked for in no order is sorted by its target all the same, but after the limit.
	byKey := r.SortTarget == pb.RangeRequest_KEY
	limited := r.SortOrder == pb.RangeRequest_NONE || byKey && r.SortOrder == pb.RangeRequest_ASCEND
	ordered := byKey && limited
	filtered := r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0
	enough := func() bool { return limited && !filtered && r.Limit > 0 && int64(len(resp.Kvs)) > r.Limit }
	for _, k := range s.within(r.Key, r.RangeEnd) {
		kv := k.at(at)
		if kv == nil {
			continue
		}
		resp.Count++ // also of what is filtered out, or beyond the limit
		if !r.CountOnly && matches(r, kv) && !enough() {
			resp.Kvs = append(resp.Kvs, kv)
		}
	}
	if !ordered {
		sortBy(resp.Kvs, r)
	}
	if r.Limit > 0 && int64(len(resp.Kvs)) > r.Limit {
		resp.Kvs, resp.More = resp.Kvs[:r.Limit], true
	}
	if r.KeysOnly {
		for i, kv := range resp.Kvs {
			resp.Kvs[i] = bare(kv)
			if r.SortTarget != pb.RangeRequest_VALUE {
				resp.Kvs[i].Lease = 0 // such an answer of etcd comes from its index, which does not have it
			}
		}
	}
	return resp
}

func matches(r *pb.RangeRequest, kv *mvccpb.KeyValue) bool {
	return (r.MinModRevision == 0 || kv.ModRevision >= r.MinModRevision) &&
		(r.MaxModRevision == 0 || kv.ModRevision <= r.MaxModRevision) &&
		(r.MinCreateRevision == 0 || kv.CreateRevision >= r.MinCreateRevision) &&
		(r.MaxCreateRevision == 0 || kv.CreateRevision <= r.MaxCreateRevision)
}

// sortBy sorts as etcd does: with sort.Sort, whose order among equals is what Go's algorithm makes of it.
func sortBy(kvs []*mvccpb.KeyValue, r *pb.RangeRequest) {
	less := map[pb.RangeRequest_SortTarget]func(a, b *mvccpb.KeyValue) bool{
		pb.RangeRequest_KEY:     func(a, b *mvccpb.KeyValue) bool { return bytes.Compare(a.Key, b.Key) < 0 },
		pb.RangeRequest_VERSION: func(a, b *mvccpb.KeyValue) bool { return a.Version < b.Version },
		pb.RangeRequest_CREATE:  func(a, b *mvccpb.KeyValue) bool { return a.CreateRevision < b.CreateRevision },
		pb.RangeRequest_MOD:     func(a, b *mvccpb.KeyValue) bool { return a.ModRevision < b.ModRevision },
		pb.RangeRequest_VALUE:   func(a, b *mvccpb.KeyValue) bool { return bytes.Compare(a.Value, b.Value) < 0 },
	}[r.SortTarget]
	by := sorter{kvs, less}
	if r.SortOrder == pb.RangeRequest_DESCEND {
		sort.Sort(sort.Reverse(by))
	} else {
		sort.Sort(by)
	}
}

type sorter struct {
	kvs  []*mvccpb.KeyValue
	less func(a, b *mvccpb.KeyValue) bool
}

func (s sorter) Len() int           { return len(s.kvs) }
func (s sorter) Swap(i, j int)      { s.kvs[i], s.kvs[j] = s.kvs[j], s.kvs[i] }
func (s sorter) Less(i, j int) bool { return s.less(s.kvs[i], s.kvs[j]) }

// Put, DeleteRange and Txn change the Store.
func (s *Store) Put(r *pb.PutRequest) (*pb.PutResponse, error) {
	if err := CheckPut(r); err != nil {
		return nil, err
	}
	if s.noSpace {
		return nil, rpctypes.ErrGRPCNoSpace
	}
	if err := s.checkPut(r); err != nil {
		return nil, err
	}
	w := &writing{s: s}
	defer w.commit()
	return w.doPut(r), nil
}

func CheckPut(r *pb.PutRequest) error {
	switch {
	case len(r.Key) == 0:
		return rpctypes.ErrGRPCEmptyKey
	case r.IgnoreValue && len(r.Value) != 0:
		return rpctypes.ErrGRPCValueProvided
	case r.IgnoreLease && r.Lease != 0:
		return rpctypes.ErrGRPCLeaseProvided
	}
	return nil
}

func (s *Store) checkPut(r *pb.PutRequest) error {
	if r.Lease != 0 && s.leases[r.Lease] == nil {
		return rpctypes.ErrGRPCLeaseNotFound
	}
	if (r.IgnoreValue || r.IgnoreLease) && s.byName[string(r.Key)].at(s.revision) == nil {
		return rpctypes.ErrGRPCKeyNotFound
	}
	return nil
}

func (w *writing) doPut(r *pb.PutRequest) *pb.PutResponse {
	value, lease := r.Value, r.Lease
	prev := w.s.byName[string(r.Key)].at(w.revision())
	if r.IgnoreValue {
		value = prev.GetValue()
	}
	if r.IgnoreLease {
		lease = prev.GetLease()
	}
	w.put(r.Key, value, lease)
	resp := &pb.PutResponse{Header: header(w.revision())}
	if r.PrevKv {
		resp.PrevKv = prev
	}
	return resp
}

func (s *Store) DeleteRange(r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	if len(r.Key) == 0 {
		return nil, rpctypes.ErrGRPCEmptyKey
	}
	w := &writing{s: s}
	defer w.commit()
	return w.doDelete(r), nil
}

func (w *writing) doDelete(r *pb.DeleteRangeRequest) *pb.DeleteRangeResponse {
	prev := w.delete(r.Key, r.RangeEnd)
	resp := &pb.DeleteRangeResponse{Header: header(w.revision()), Deleted: int64(len(prev))}
	if r.PrevKv {
		resp.PrevKvs = prev
	}
	return resp
}

// Compact makes what is older than revision unreadable.
func (s *Store) Compact(revision int64) (*pb.CompactionResponse, error) {
	switch {
	case revision <= s.compacted:
		return nil, rpctypes.ErrGRPCCompacted
	case revision > s.revision:
		return nil, rpctypes.ErrGRPCFutureRev
	}
	s.compacted = revision
	return &pb.CompactionResponse{Header: header(s.revision)}, nil
}
