package etcdtest

import (
	"context"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// NoSpace arms the alarm that etcd raises when its quota is used up: it refuses puts and leases, and takes deletions.
func (m *Member) NoSpace(t testing.TB) { m.alarm(t, pb.AlarmRequest_ACTIVATE) }

// Space disarms it.
func (m *Member) Space(t testing.TB) { m.alarm(t, pb.AlarmRequest_DEACTIVATE) }

func (m *Member) alarm(t testing.TB, action pb.AlarmRequest_AlarmAction) {
	t.Helper()
	client, err := clientv3.New(clientConfig([]string{m.endpoint}, m.secure))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	members, err := client.MemberList(ctx)
	if err != nil {
		t.Fatal(err)
	}
	req := &pb.AlarmRequest{Action: action, MemberID: members.Header.MemberId, Alarm: pb.AlarmType_NOSPACE}
	if _, err := pb.NewMaintenanceClient(client.ActiveConnection()).Alarm(ctx, req); err != nil {
		t.Fatalf("etcdtest: alarm of %s: %v", m.endpoint, err)
	}
}
