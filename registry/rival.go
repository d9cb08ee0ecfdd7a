package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/session"
)

// errContested: another session has the ID, and it is not known yet whether it lives.
var errContested = errors.New("registry: another session has this ID, and may have died")

// contestEvery is how often that session's lease is looked at.
const contestEvery = 300 * time.Millisecond

// rival is another session that has the ID. It lives if its lease is renewed.
type rival struct {
	lease clientv3.LeaseID
	left  int64     // seconds, rounded down, as etcd tells them
	at    time.Time // when that was answered
	term  uint64    // of etcd's leader then
}

// renewed says whether a lease that has left seconds now, as asked for at asked, was renewed since r was answered.
// Both are rounded down: what had left seconds had less than one more, and has less than left+1 after a second.
func (r rival) renewed(left int64, asked time.Time) bool {
	return float64(left)+asked.Sub(r.at).Seconds() >= float64(r.left)+1
}

// contest looks whether the session lives that has the ID; nil: it does not, and its entry may be overwritten, which no reader
// notices. A session renews its lease when a third of the TTL is gone, and ends what it holds when a twentieth is left.
func (r *Registration) contest(ctx context.Context, id clientv3.LeaseID) error {
	asked := time.Now()
	resp, err := r.keeper.Client.TimeToLive(ctx, id)
	switch {
	case err != nil:
		return err
	case resp.TTL <= 0: // its entry is about to go
		return contested(id)
	case resp.TTL*4 < resp.GrantedTTL: // whoever lives renews it long before
		return nil
	case r.rival.lease != id, r.rival.term != resp.RaftTerm: // a new leader starts all leases anew
		r.rival = rival{id, resp.TTL, time.Now(), resp.RaftTerm}
		return contested(id)
	case r.rival.renewed(resp.TTL, asked):
		r.rival = rival{id, resp.TTL, time.Now(), resp.RaftTerm}
		return r.duplicate(ctx, id)
	}
	return contested(id)
}

func contested(id clientv3.LeaseID) error {
	return fmt.Errorf("%w: its lease is %s", errContested, keyspace.Lease(id))
}

// duplicate names the session, if it can.
func (r *Registration) duplicate(ctx context.Context, id clientv3.LeaseID) error {
	who := "of lease " + keyspace.Lease(id)
	resp, err := r.keeper.KV().Get(ctx, keyspace.Session(r.keeper.Namespace, id))
	var record session.Record
	if err == nil && len(resp.Kvs) == 1 && json.Unmarshal(resp.Kvs[0].Value, &record) == nil {
		who += fmt.Sprintf(" (%s, host %s, process %d)", record.Name, record.Host, record.PID)
	}
	return fmt.Errorf("%w: %q, by the session %s", ErrDuplicate, r.id, who)
}

func permanent(id string) error {
	return fmt.Errorf("%w: %q, by an entry without a lease, which belongs to no session", ErrDuplicate, id)
}
