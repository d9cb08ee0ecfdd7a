package fencetest_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/fenceline/fenceline/fencetest"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

var (
	differSeed = flag.Uint64("differ.seed", 0, "of the random operations; 0: another each time")
	differOps  = flag.Int("differ.ops", 10_000, "how many")
)

// TestSameAnswersAsEtcd does the same random operations to both, and compares all that they answer and tell.
func TestSameAnswersAsEtcd(t *testing.T) {
	t.Parallel()
	seed := *differSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	real := etcdtest.Start(t).Client(t)
	const round = 500 // operations on one set of keys
	for i := range *differOps / round {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		ops := make([]operation, round)
		for j := range ops {
			ops[j] = randomOperation(r)
		}
		at, what := differ(t, real, ops)
		if what == "" {
			continue
		}
		ops = shrink(t, real, ops[:at+1])
		_, what = differ(t, real, ops)
		var script strings.Builder
		for _, op := range ops {
			fmt.Fprintf(&script, "  %s\n", op)
		}
		t.Fatalf("seed %d, round %d: after\n%s%s", seed, i, script.String(), what)
	}
}

// shrink leaves out what is not needed for them to differ.
func shrink(t *testing.T, real *clientv3.Client, ops []operation) []operation {
	for size := len(ops) / 2; size > 0; size /= 2 {
		for i := 0; i+size <= len(ops); {
			fewer := slices.Concat(ops[:i], ops[i+size:])
			if at, what := differ(t, real, fewer); what != "" {
				ops = fewer[:at+1]
			} else {
				i += size
			}
		}
	}
	return ops
}

// side is one of the two that are compared.
type side struct {
	client *clientv3.Client
	kv     pb.KVClient
	lease  pb.LeaseClient
	watch  pb.Watch_WatchClient

	mu      sync.Mutex
	told    []string // of watches, each event and each end
	created int      // watches, or refused
}

func newSide(t *testing.T, ctx context.Context, c *clientv3.Client) *side {
	t.Helper()
	conn := c.ActiveConnection()
	s := &side{client: c, kv: pb.NewKVClient(conn), lease: pb.NewLeaseClient(conn)}
	var err error
	if s.watch, err = pb.NewWatchClient(conn).Watch(ctx); err != nil {
		t.Fatal(err)
	}
	go s.listen()
	return s
}

func (s *side) listen() {
	for {
		resp, err := s.watch.Recv()
		if err != nil {
			return
		}
		s.mu.Lock()
		if resp.Created {
			s.created++
		}
		if len(resp.Events) == 0 {
			s.told = append(s.told, fmt.Sprintf("watch %d: created %v, canceled %v, compacted at %d, %q", resp.WatchId, resp.Created, resp.Canceled, resp.CompactRevision, resp.CancelReason))
		}
		for _, ev := range resp.Events {
			s.told = append(s.told, fmt.Sprintf("watch %d: %s", resp.WatchId, prototext.MarshalOptions{}.Format(ev)))
		}
		s.mu.Unlock()
	}
}

// await waits for the answers to so many requests to watch.
func (s *side) await(made int) {
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Microsecond) {
		s.mu.Lock()
		n := s.created
		s.mu.Unlock()
		if n == made {
			return
		}
	}
}

// perWatch is what was told, by watch: the order between watches is nobody's promise.
func (s *side) perWatch() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	sorted := slices.Clone(s.told)
	slices.SortStableFunc(sorted, func(a, b string) int {
		return strings.Compare(a[:strings.IndexByte(a, ':')], b[:strings.IndexByte(b, ':')])
	})
	return strings.Join(sorted, "\n")
}

var prefixes int

// differ does ops to a new fake and to etcd, below a prefix that nobody has used. It returns the first at which they differ, and how.
func differ(t *testing.T, real *clientv3.Client, ops []operation) (at int, what string) {
	t.Helper()
	prefixes++
	prefix := fmt.Sprintf("p%d/", prefixes)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for id := range int64(4) {
		_, _ = real.Revoke(ctx, clientv3.LeaseID(100+id))
	}
	one, err := real.Put(ctx, "pad", "")
	if err != nil {
		t.Fatal(err)
	}
	revision := one.Header.Revision
	fake := fencetest.Start(t)
	for fake.Revision() < revision {
		fake.Put("pad", "")
	}
	if _, err := real.Compact(ctx, revision); err != nil {
		t.Fatal(err)
	}
	fake.Compact()
	fakeClient := fake.Client(t)
	defer fakeClient.Close()
	sides := [2]*side{newSide(t, ctx, real), newSide(t, ctx, fakeClient)}
	made := 0
	var synced time.Time // when etcd, which does so ten times a second, has told all watches of the past
	for i, op := range ops {
		m := op.placed(prefix, fake.Revision())
		if w, ok := m.(*pb.WatchCreateRequest); ok {
			made++
			for _, s := range sides {
				_ = s.watch.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: proto.CloneOf(w)}})
			}
			for _, s := range sides {
				s.await(made)
			}
			if w.StartRevision > 0 {
				synced = time.Now().Add(250 * time.Millisecond)
				time.Sleep(2 * time.Millisecond) // so that the fake has told what etcd may tell a tenth of a second later
			}
			if what := alike(sides); what != "" {
				return i, what
			}
			continue
		}
		if c, ok := m.(*pb.WatchCancelRequest); ok {
			if what := alike(sides); what != "" { // else one may tell what the other does not any more
				return i, what
			}
			for _, s := range sides {
				_ = s.watch.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: c}})
			}
			time.Sleep(time.Millisecond)
			if what := alike(sides); what != "" {
				return i, what
			}
			continue
		}
		if _, ok := m.(*pb.CompactionRequest); ok {
			time.Sleep(time.Until(synced))
			if what := alike(sides); what != "" {
				return i, what
			}
		}
		theirs, ours := sides[0].do(ctx, proto.Clone(m)), sides[1].do(ctx, proto.Clone(m))
		if theirs != ours {
			return i, fmt.Sprintf("etcd says\n  %s\nand fencetest\n  %s", theirs, ours)
		}
	}
	return len(ops) - 1, alike(sides)
}

// alike waits until both have told the same.
func alike(sides [2]*side) string {
	for deadline := time.Now().Add(3 * time.Second); ; time.Sleep(time.Millisecond) {
		theirs, ours := sides[0].perWatch(), sides[1].perWatch()
		if theirs == ours {
			return ""
		}
		if time.Now().After(deadline) {
			a, b := strings.Split(theirs, "\n"), strings.Split(ours, "\n")
			for i := range max(len(a), len(b)) {
				if i >= len(a) || i >= len(b) || a[i] != b[i] {
					return fmt.Sprintf("etcd tells\n  %s\nand fencetest\n  %s", strings.Join(a[min(i, len(a)):min(i+3, len(a))], "\n  "), strings.Join(b[min(i, len(b)):min(i+3, len(b))], "\n  "))
				}
			}
		}
	}
}

// do asks, and writes down the answer without what is each server's own.
func (s *side) do(ctx context.Context, m proto.Message) string {
	var resp proto.Message
	var err error
	switch m := m.(type) {
	case *pb.RangeRequest:
		resp, err = s.kv.Range(ctx, m)
	case *pb.PutRequest:
		resp, err = s.kv.Put(ctx, m)
	case *pb.DeleteRangeRequest:
		resp, err = s.kv.DeleteRange(ctx, m)
	case *pb.TxnRequest:
		resp, err = s.kv.Txn(ctx, m)
	case *pb.CompactionRequest:
		resp, err = s.kv.Compact(ctx, m)
	case *pb.LeaseGrantRequest:
		resp, err = s.lease.LeaseGrant(ctx, m)
	case *pb.LeaseRevokeRequest:
		resp, err = s.lease.LeaseRevoke(ctx, m)
	case *pb.LeaseTimeToLiveRequest:
		var r *pb.LeaseTimeToLiveResponse
		if r, err = s.lease.LeaseTimeToLive(ctx, m); err == nil {
			if r.TTL > 0 {
				r.TTL = 1 // time goes on between the two
			}
			slices.SortFunc(r.Keys, func(a, b []byte) int { return strings.Compare(string(a), string(b)) })
			resp = r
		}
	case *pb.LeaseKeepAliveRequest:
		var stream pb.Lease_LeaseKeepAliveClient
		if stream, err = s.lease.LeaseKeepAlive(ctx); err == nil {
			_ = stream.Send(m)
			resp, err = stream.Recv()
			_ = stream.CloseSend()
		}
	default:
		panic(fmt.Sprintf("%T", m))
	}
	if err != nil {
		st := status.Convert(err)
		return fmt.Sprintf("%s: %s", st.Code(), st.Message())
	}
	if h := resp.(interface{ GetHeader() *pb.ResponseHeader }).GetHeader(); h != nil {
		h.ClusterId, h.MemberId, h.RaftTerm = 0, 0, 0
	}
	return prototext.MarshalOptions{}.Format(resp)
}
