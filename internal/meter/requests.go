package meter

import (
	"maps"
	"sync"

	"google.golang.org/grpc/codes"
)

// Request is one kind of request to etcd, and how it ended.
type Request struct {
	Op   string // "get", "put", "delete", "txn", "grant", "renew", "revoke"
	Code codes.Code
}

// requests counts those that went to etcd: beside these a mutex costs nothing.
type requests struct {
	mu sync.Mutex
	of map[Request]uint64
}

// Requested counts one.
func (m *Meter) Requested(op string, code codes.Code) {
	r := &m.requests
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of == nil {
		r.of = map[Request]uint64{}
	}
	r.of[Request{op, code}]++
}

func (r *requests) read() map[Request]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.of)
}
