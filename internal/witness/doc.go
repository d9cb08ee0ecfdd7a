// Package witness lets a process that is known to be dead be replaced at once: what it held is given back by somebody on its machine who has the
// kernel's word for its death.
//
// A session tells the witness its leases over a unix socket, one message each (Teller). The witness holds a pidfd of the process that told, not of
// the one that connected, and when that is dead, and whatever may still act under the lease is gone (Page), it revokes the lease (Server). The
// end of a connection means nothing. Whoever tells a lease shows a secret whose hash stands in the session's record in etcd: nobody can have the
// lease of another revoked.
//
// A lease that is told late, or not at all, costs time: then the TTL decides, as without a witness.
package witness

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Variable is where a process finds the socket of its witness.
const Variable = "FENCELINE_WITNESS"

// Hash is what a session's record says of its secret.
func Hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// message goes from a session to the witness. The first is a hello, with the page; the second answers the challenge; each of the others is about
// one lease.
type message struct {
	Do        string  `json:"do"`              // "hello", "here", "tell", "forget", "group" or "ungroup"
	PID       int     `json:"pid,omitempty"`   // hello: its own, as it sees it
	Group     int     `json:"group,omitempty"` // a process group of one of its children
	Nonce     string  `json:"nonce,omitempty"`
	Guests    bool    `json:"guests,omitempty"`    // hello: others may act under its leases,
	Link      float64 `json:"link,omitempty"`      // for so many seconds after its death, if there is no page
	Namespace string  `json:"namespace,omitempty"` // tell
	Lease     string  `json:"lease,omitempty"`     // in hex
	Secret    string  `json:"secret,omitempty"`
	TTL       float64 `json:"ttl,omitempty"` // seconds
}

// reply goes the other way.
type reply struct {
	Challenge string `json:"challenge,omitempty"`
	Lease     string `json:"lease,omitempty"`
	Error     string `json:"error,omitempty"` // empty: it is told
	Retry     bool   `json:"retry,omitempty"` // it may work later
}

const (
	mostBytes       = 4096
	mostConnections = 4096
	mostLeases      = 1024 // of a connection
	handshakeWithin = 5 * time.Second
)

// Cluster is what the witness asks of etcd.
type Cluster interface {
	// Record is what stands at a session's record, and under which lease; empty: nothing.
	Record(ctx context.Context, namespace string, lease clientv3.LeaseID) (text string, under clientv3.LeaseID, err error)
	// Revoke returns nil also if there is no such lease.
	Revoke(ctx context.Context, lease clientv3.LeaseID) error
}
