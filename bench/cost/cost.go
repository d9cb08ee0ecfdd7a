// Package cost counts what a client asks of etcd.
//
// A [Meter] sits under the client, where gRPC hands messages to the transport: retries count, answers from a cache do
// not. What counts as a proposal follows etcd's own rule: a transaction with a write in either branch goes through
// the log, whichever branch runs.
package cost

import (
	"context"
	"slices"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"
)

// Count is how often something was sent or received.
type Count struct {
	Proposals    int64 `json:"proposals"`          // puts, deletes, writing transactions, leases granted and revoked
	Linearizable int64 `json:"linearizable_reads"` // reads that ask the leader for its place in the log
	Serializable int64 `json:"serializable_reads"` // reads of one member's own state
	Watches      int64 `json:"watches"`            // watches created
	Events       int64 `json:"watch_events"`       // events received
	Renewals     int64 `json:"renewals"`           // lease keep-alives sent
	Other        int64 `json:"other"`              // everything else that was sent
	Sent         int64 `json:"bytes_sent"`         // encoded messages, without framing
	Received     int64 `json:"bytes_received"`
}

// Reads is both kinds.
func (c Count) Reads() int64 { return c.Linearizable + c.Serializable }

// Requests is all messages sent.
func (c Count) Requests() int64 {
	return c.Proposals + c.Reads() + c.Watches + c.Renewals + c.Other
}

func (c Count) combine(o Count, sign int64) Count {
	return Count{
		Proposals:    c.Proposals + sign*o.Proposals,
		Linearizable: c.Linearizable + sign*o.Linearizable,
		Serializable: c.Serializable + sign*o.Serializable,
		Watches:      c.Watches + sign*o.Watches,
		Events:       c.Events + sign*o.Events,
		Renewals:     c.Renewals + sign*o.Renewals,
		Other:        c.Other + sign*o.Other,
		Sent:         c.Sent + sign*o.Sent,
		Received:     c.Received + sign*o.Received,
	}
}

// Add and Sub work field by field.
func (c Count) Add(o Count) Count { return c.combine(o, 1) }
func (c Count) Sub(o Count) Count { return c.combine(o, -1) }

// Meter counts. The zero value is ready, and one may serve many clients.
type Meter struct {
	proposals, linearizable, serializable, watches, events, renewals, other, sent, received atomic.Int64
}

// DialOption makes a client report to m; it goes into clientv3.Config.DialOptions.
func (m *Meter) DialOption() grpc.DialOption { return grpc.WithStatsHandler((*handler)(m)) }

// Count is what was counted so far.
func (m *Meter) Count() Count {
	return Count{
		Proposals:    m.proposals.Load(),
		Linearizable: m.linearizable.Load(),
		Serializable: m.serializable.Load(),
		Watches:      m.watches.Load(),
		Events:       m.events.Load(),
		Renewals:     m.renewals.Load(),
		Other:        m.other.Load(),
		Sent:         m.sent.Load(),
		Received:     m.received.Load(),
	}
}

// handler keeps gRPC's callbacks out of Meter's methods.
type handler Meter

func (h *handler) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (h *handler) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (h *handler) HandleConn(context.Context, stats.ConnStats)                       {}

func (h *handler) HandleRPC(_ context.Context, s stats.RPCStats) {
	switch s := s.(type) {
	case *stats.OutPayload:
		h.sent.Add(int64(s.Length))
		h.request(s.Payload).Add(1)
	case *stats.InPayload:
		h.received.Add(int64(s.Length))
		if r, ok := s.Payload.(*pb.WatchResponse); ok {
			h.events.Add(int64(len(r.Events)))
		}
	}
}

// request is the counter that message belongs to.
func (h *handler) request(message any) *atomic.Int64 {
	switch r := message.(type) {
	case *pb.PutRequest, *pb.DeleteRangeRequest, *pb.CompactionRequest, *pb.LeaseGrantRequest, *pb.LeaseRevokeRequest:
		return &h.proposals
	case *pb.TxnRequest:
		return h.txn(r)
	case *pb.RangeRequest:
		if r.Serializable {
			return &h.serializable
		}
		return &h.linearizable
	case *pb.WatchRequest:
		if r.GetCreateRequest() != nil {
			return &h.watches
		}
	case *pb.LeaseKeepAliveRequest:
		return &h.renewals
	}
	return &h.other
}

// txn follows etcd, which decides before it knows which branch applies: anything but a range makes it a proposal.
func (h *handler) txn(r *pb.TxnRequest) *atomic.Int64 {
	kind := &h.serializable
	for _, op := range slices.Concat(r.Success, r.Failure) {
		switch get := op.GetRequestRange(); {
		case get == nil:
			return &h.proposals
		case !get.Serializable:
			kind = &h.linearizable
		}
	}
	return kind
}
