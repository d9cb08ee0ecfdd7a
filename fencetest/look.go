package fencetest

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Get is the value of a key, and whether it is there.
func (e *Etcd) Get(key string) (value string, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	resp, err := e.store.Range(&pb.RangeRequest{Key: []byte(key)}, e.store.Revision())
	if err != nil || len(resp.Kvs) == 0 {
		return "", false
	}
	return string(resp.Kvs[0].Value), true
}

// Keys are all that stand, by name, and Leases all that live.
func (e *Etcd) Keys() []*mvccpb.KeyValue {
	e.mu.Lock()
	defer e.mu.Unlock()
	resp, _ := e.store.Range(&pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}, e.store.Revision())
	return resp.Kvs
}

func (e *Etcd) Leases() (ids []clientv3.LeaseID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.store.Leases() {
		ids = append(ids, clientv3.LeaseID(l.ID))
	}
	return ids
}

// Revision is the present one.
func (e *Etcd) Revision() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.store.Revision()
}

// Watches is how many watches stand, of all clients.
func (e *Etcd) Watches() (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, m := range e.members {
		for _, s := range m.streams {
			n += len(s.watchers)
		}
	}
	return n
}
