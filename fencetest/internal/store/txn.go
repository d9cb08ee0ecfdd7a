package store

import (
	"bytes"
	"cmp"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// maxTxnOps is etcd's default for --max-txn-ops: a transaction and those in it together.
const maxTxnOps = 128

// Txn compares all first, the nested ones too, and then does all or nothing.
func (s *Store) Txn(r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if err := CheckTxn(r); err != nil {
		return nil, err
	}
	if s.noSpace && takesSpace(r) {
		return nil, rpctypes.ErrGRPCNoSpace
	}
	t := s.decide(r, s.revision)
	if err := s.checkDecided(t, s.revision); err != nil {
		return nil, err
	}
	w := &writing{s: s}
	defer w.commit()
	return w.doTxn(t), nil
}

// ReadTxn is Txn for one that only reads, by a member that lags perhaps.
func (s *Store) ReadTxn(r *pb.TxnRequest, upTo int64) (*pb.TxnResponse, error) {
	if err := CheckTxn(r); err != nil {
		return nil, err
	}
	t := s.decide(r, upTo)
	if err := s.checkDecided(t, upTo); err != nil {
		return nil, err
	}
	resp := &pb.TxnResponse{Header: header(upTo), Succeeded: t.succeeded}
	for _, op := range t.ops {
		if rr := op.GetRequestRange(); rr != nil {
			resp.Responses = append(resp.Responses, &pb.ResponseOp{Response: &pb.ResponseOp_ResponseRange{ResponseRange: s.read(rr, upTo)}})
		}
	}
	return resp, nil
}

// IsRead says whether a transaction only reads; etcd takes one in it for a write.
func IsRead(r *pb.TxnRequest) bool {
	for _, ops := range [][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range ops {
			if op.GetRequestRange() == nil {
				return false
			}
		}
	}
	return true
}

// IsSerializable says whether any member may answer from what it has.
func IsSerializable(r *pb.TxnRequest) bool {
	for _, ops := range [][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range ops {
			if rr := op.GetRequestRange(); rr == nil || !rr.Serializable {
				return false
			}
		}
	}
	return true
}

// takesSpace says whether one of its puts might be done.
func takesSpace(r *pb.TxnRequest) bool {
	for _, ops := range [][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range ops {
			if op.GetRequestPut() != nil || op.GetRequestTxn() != nil && takesSpace(op.GetRequestTxn()) {
				return true
			}
		}
	}
	return false
}

// decided is a transaction whose comparisons are done.
type decided struct {
	succeeded bool
	ops       []*pb.RequestOp
	nested    map[*pb.RequestOp]*decided
}

func (s *Store) decide(r *pb.TxnRequest, now int64) *decided {
	d := &decided{succeeded: s.holdAll(r.Compare, now), ops: r.Success, nested: map[*pb.RequestOp]*decided{}}
	if !d.succeeded {
		d.ops = r.Failure
	}
	for _, op := range d.ops {
		if t := op.GetRequestTxn(); t != nil {
			d.nested[op] = s.decide(t, now)
		}
	}
	return d
}

func (s *Store) checkDecided(d *decided, now int64) error {
	for _, op := range d.ops {
		var err error
		switch r := op.Request.(type) {
		case *pb.RequestOp_RequestRange:
			if rev := r.RequestRange.Revision; rev != 0 {
				err = s.checkRevision(rev, now)
			}
		case *pb.RequestOp_RequestPut:
			err = s.checkPut(r.RequestPut)
		case *pb.RequestOp_RequestTxn:
			err = s.checkDecided(d.nested[op], now)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *writing) doTxn(d *decided) *pb.TxnResponse {
	resp := &pb.TxnResponse{Succeeded: d.succeeded}
	for _, op := range d.ops {
		var out *pb.ResponseOp
		switch r := op.Request.(type) {
		case *pb.RequestOp_RequestRange:
			out = &pb.ResponseOp{Response: &pb.ResponseOp_ResponseRange{ResponseRange: w.s.read(r.RequestRange, w.revision())}}
		case *pb.RequestOp_RequestPut:
			out = &pb.ResponseOp{Response: &pb.ResponseOp_ResponsePut{ResponsePut: w.doPut(r.RequestPut)}}
		case *pb.RequestOp_RequestDeleteRange:
			out = &pb.ResponseOp{Response: &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: w.doDelete(r.RequestDeleteRange)}}
		case *pb.RequestOp_RequestTxn:
			inner := w.doTxn(d.nested[op])
			inner.Header = header(0) // etcd does not fill it
			out = &pb.ResponseOp{Response: &pb.ResponseOp_ResponseTxn{ResponseTxn: inner}}
		}
		resp.Responses = append(resp.Responses, out)
	}
	resp.Header = header(w.revision())
	return resp
}

func (s *Store) holdAll(all []*pb.Compare, now int64) bool {
	for _, c := range all {
		if !s.holds(c, now) {
			return false
		}
	}
	return true
}

// holds says whether a comparison is true of all keys in its range. A key that is not there is compared as one with zeros, but has no
// value to compare.
func (s *Store) holds(c *pb.Compare, now int64) bool {
	some := false
	for _, k := range s.within(c.Key, c.RangeEnd) {
		if kv := k.at(now); kv != nil {
			if some = true; !compare(c, kv) {
				return false
			}
		}
	}
	return some || c.Target != pb.Compare_VALUE && compare(c, &mvccpb.KeyValue{})
}

func compare(c *pb.Compare, kv *mvccpb.KeyValue) bool {
	result := 0
	switch c.Target {
	case pb.Compare_VALUE:
		result = bytes.Compare(kv.Value, c.GetValue())
	case pb.Compare_CREATE:
		result = cmp.Compare(kv.CreateRevision, c.GetCreateRevision())
	case pb.Compare_MOD:
		result = cmp.Compare(kv.ModRevision, c.GetModRevision())
	case pb.Compare_VERSION:
		result = cmp.Compare(kv.Version, c.GetVersion())
	case pb.Compare_LEASE:
		result = cmp.Compare(kv.Lease, c.GetLease())
	}
	switch c.Result {
	case pb.Compare_EQUAL:
		return result == 0
	case pb.Compare_NOT_EQUAL:
		return result != 0
	case pb.Compare_GREATER:
		return result > 0
	case pb.Compare_LESS:
		return result < 0
	}
	return true
}

// CheckTxn refuses what is too much, or would change a key twice.
func CheckTxn(r *pb.TxnRequest) error {
	if err := checkOps(r, maxTxnOps); err != nil {
		return err
	}
	for _, ops := range [][]*pb.RequestOp{r.Success, r.Failure} {
		if _, _, err := changes(ops); err != nil {
			return err
		}
	}
	return nil
}

func checkOps(r *pb.TxnRequest, most int) error {
	n := max(len(r.Compare), len(r.Success), len(r.Failure))
	if n > most {
		return rpctypes.ErrGRPCTooManyOps
	}
	for _, c := range r.Compare {
		if len(c.Key) == 0 {
			return rpctypes.ErrGRPCEmptyKey
		}
	}
	for _, ops := range [][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range ops {
			if err := checkOp(op, most-n); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkOp(op *pb.RequestOp, most int) error {
	switch r := op.Request.(type) {
	case *pb.RequestOp_RequestRange:
		return CheckRange(r.RequestRange)
	case *pb.RequestOp_RequestPut:
		return CheckPut(r.RequestPut)
	case *pb.RequestOp_RequestDeleteRange:
		if len(r.RequestDeleteRange.Key) == 0 {
			return rpctypes.ErrGRPCEmptyKey
		}
		return nil
	case *pb.RequestOp_RequestTxn:
		return checkOps(r.RequestTxn, most)
	}
	return rpctypes.ErrGRPCKeyNotFound // an empty one
}

// span is a range of keys that is deleted.
type span struct{ from, end []byte }

func (d span) has(name string) bool {
	switch {
	case len(d.end) == 0:
		return name == string(d.from)
	case len(d.end) == 1 && d.end[0] == 0:
		return name >= string(d.from)
	}
	return name >= string(d.from) && name < string(d.end)
}

// changes are the keys that ops may put, and the ranges that they may delete. A key is put once, and not both put and deleted; deletes
// may overlap, and so may the two branches of a transaction inside, of which one is done.
func changes(ops []*pb.RequestOp) (puts map[string]bool, dels []span, err error) {
	for _, op := range ops {
		if d := op.GetRequestDeleteRange(); d != nil {
			dels = append(dels, span{d.Key, d.RangeEnd})
		}
	}
	puts = map[string]bool{}
	add := func(name string, either map[string]bool) bool {
		if puts[name] && !either[name] {
			return false
		}
		for _, d := range dels {
			if d.has(name) {
				return false
			}
		}
		puts[name] = true
		return true
	}
	for _, op := range ops {
		t := op.GetRequestTxn()
		if t == nil {
			continue
		}
		putsThen, delsThen, err := changes(t.Success)
		if err != nil {
			return nil, nil, err
		}
		putsElse, delsElse, err := changes(t.Failure)
		if err != nil {
			return nil, nil, err
		}
		for name := range putsThen {
			if !add(name, nil) {
				return nil, nil, rpctypes.ErrGRPCDuplicateKey
			}
		}
		for name := range putsElse {
			if !add(name, putsThen) {
				return nil, nil, rpctypes.ErrGRPCDuplicateKey
			}
		}
		dels = append(append(dels, delsThen...), delsElse...)
	}
	for _, op := range ops {
		if p := op.GetRequestPut(); p != nil && !add(string(p.Key), nil) {
			return nil, nil, rpctypes.ErrGRPCDuplicateKey
		}
	}
	return puts, dels, nil
}
