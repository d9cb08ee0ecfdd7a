package doctor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/internal/mirror"
)

const (
	answerWithin = 3 * time.Second // for each member
	someReads    = 5
	someLeases   = 50
)

// Gather asks each endpoint of client, and for what stands in namespace.
func Gather(ctx context.Context, client *clientv3.Client, namespace string) Facts {
	f := Facts{Now: time.Now(), Left: map[string]time.Duration{}}
	endpoints := client.Endpoints()
	f.Members = make([]Member, len(endpoints))
	var asking sync.WaitGroup
	for i, endpoint := range endpoints {
		asking.Go(func() { f.Members[i] = ask(ctx, client, endpoint) })
	}
	asking.Wait()
	if !f.Reached() {
		return f
	}
	for range someReads {
		began := time.Now()
		bounded, cancel := context.WithTimeout(ctx, answerWithin)
		_, err := client.Get(bounded, keyspace.Sessions(namespace))
		cancel()
		if err != nil && !errors.Is(err, rpctypes.ErrPermissionDenied) { // which is an answer
			f.NoQuorum = err
			return f
		}
		f.Slowest = max(f.Slowest, time.Since(began))
	}
	if resp, err := client.AlarmList(ctx); err == nil {
		for _, a := range resp.Alarms {
			if a.Alarm != pb.AlarmType_NONE {
				f.Alarms = append(f.Alarms, fmt.Sprintf("%v at member %x", a.Alarm, a.MemberID))
			}
		}
	}
	if resp, err := client.AuthStatus(ctx); err == nil {
		f.Auth = resp.Enabled
	}
	if f.Snapshot, f.Denied = inspect.Read(ctx, client, inspect.WithNamespace(namespace)); f.Denied != nil {
		return f
	}
	f.Revision = f.Snapshot.Revision
	var compacted *mirror.CompactedError
	if f.Revision > 1 {
		asking, cancel := context.WithTimeout(ctx, answerWithin)
		if _, err := mirror.Past(asking, client, []string{keyspace.Sessions(namespace)}, 0, 1); errors.As(err, &compacted) {
			f.Compacted = compacted.Revision
		}
		cancel()
	}
	for _, l := range f.Snapshot.Lines {
		if len(f.Left) == someLeases || len(l.Entries) < 2 { // nobody waits
			continue
		}
		if e := &l.Entries[0]; e.Lease != "" {
			if left, err := inspect.LeaseLeft(ctx, client, e); err == nil {
				f.Left[e.Lease] = left
			}
		}
	}
	return f
}

func ask(ctx context.Context, client *clientv3.Client, endpoint string) Member {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	resp, err := client.Status(ctx, endpoint)
	if err != nil {
		return Member{Endpoint: endpoint, Err: err}
	}
	return Member{Endpoint: endpoint, Version: resp.Version, Leader: resp.Leader == resp.Header.MemberId, HasOne: resp.Leader != 0, Learner: resp.IsLearner,
		Applied: resp.RaftAppliedIndex, Size: resp.DbSizeInUse, Quota: resp.DbSizeQuota, Errors: resp.Errors}
}
