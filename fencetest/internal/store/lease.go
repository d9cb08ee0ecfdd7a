package store

import (
	"cmp"
	"maps"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

const (
	// minTTL follows from etcd's default election timeout of a second: one and a half, rounded up. maxTTL is etcd's, too.
	minTTL, maxTTL = 2, 9_000_000_000
	// Extension is what leases get on top of their TTL when the leader changes: the election timeout.
	Extension = time.Second
)

// Lease is one that was granted.
type Lease struct {
	ID, TTL int64         // seconds
	Expiry  time.Duration // on the clock of who asks
	keys    map[string]bool
}

func (l *Lease) clone() *Lease {
	c := *l
	c.keys = maps.Clone(l.keys)
	return &c
}

// Keys that hang on it, sorted.
func (l *Lease) Keys() []string { return slices.Sorted(maps.Keys(l.keys)) }

// Grant takes the ID from the request, which must have one.
func (s *Store) Grant(r *pb.LeaseGrantRequest, now time.Duration) (*pb.LeaseGrantResponse, error) {
	switch {
	case s.noSpace:
		return nil, rpctypes.ErrGRPCNoSpace
	case r.TTL > maxTTL:
		return nil, rpctypes.ErrGRPCLeaseTTLTooLarge
	case s.leases[r.ID] != nil:
		return nil, rpctypes.ErrGRPCLeaseExist
	}
	l := &Lease{ID: r.ID, TTL: max(r.TTL, minTTL), keys: map[string]bool{}}
	l.Expiry = now + l.ttl()
	s.leases[l.ID] = l
	return &pb.LeaseGrantResponse{Header: header(s.revision), ID: l.ID, TTL: l.TTL}, nil
}

func (l *Lease) ttl() time.Duration { return time.Duration(l.TTL) * time.Second }

// Revoke ends a lease and deletes its keys, at one revision.
func (s *Store) Revoke(id int64) (*pb.LeaseRevokeResponse, error) {
	l := s.leases[id]
	if l == nil {
		return nil, rpctypes.ErrGRPCLeaseNotFound
	}
	w := &writing{s: s}
	for _, name := range l.Keys() {
		w.delete([]byte(name), nil)
	}
	w.commit()
	delete(s.leases, id)
	return &pb.LeaseRevokeResponse{Header: header(s.revision)}, nil
}

// Renew gives a lease its whole TTL again, and returns that; zero if it does not exist.
func (s *Store) Renew(id int64, now time.Duration) int64 {
	l := s.leases[id]
	if l == nil {
		return 0
	}
	l.Expiry = now + l.ttl()
	return l.TTL
}

// RenewAll is what a new leader does: it does not know when a lease was renewed last.
func (s *Store) RenewAll(now time.Duration) {
	for _, l := range s.leases {
		l.Expiry = now + l.ttl() + Extension
	}
}

// TimeToLive tells of a lease; its TTL is -1 if it does not exist.
func (s *Store) TimeToLive(r *pb.LeaseTimeToLiveRequest, now time.Duration) *pb.LeaseTimeToLiveResponse {
	resp := &pb.LeaseTimeToLiveResponse{Header: header(s.revision), ID: r.ID, TTL: -1}
	l := s.leases[r.ID]
	if l == nil {
		return resp
	}
	resp.TTL, resp.GrantedTTL = int64((l.Expiry - now).Seconds()), l.TTL
	if r.Keys {
		for _, name := range l.Keys() {
			resp.Keys = append(resp.Keys, []byte(name))
		}
	}
	return resp
}

// Leases are all, that which ends next first.
func (s *Store) Leases() []*Lease {
	return slices.SortedFunc(maps.Values(s.leases), func(a, b *Lease) int {
		return cmp.Or(cmp.Compare(a.Expiry, b.Expiry), cmp.Compare(a.ID, b.ID))
	})
}

// Lease is one of them; nil if there is none.
func (s *Store) Lease(id int64) *Lease { return s.leases[id] }
