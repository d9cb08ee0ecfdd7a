package etcdtest

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Flaky makes transactions of a client lose their requests, lose their answers, or arrive late: so many of a hundred,
// and of these a third each. Whoever has sent one is told that the connection broke, and one that is late takes effect
// all the same.
type Flaky struct {
	clientv3.KV

	mu      sync.Mutex
	percent int
	late    int        // on their way
	arrived *sync.Cond // late has become less
}

// latest is how late a transaction may arrive.
const latest = 60 * time.Millisecond

// NewFlaky takes the place of client.KV. Do so before anybody uses the client.
func NewFlaky(client *clientv3.Client, percent int) *Flaky {
	f := &Flaky{KV: client.KV, percent: percent}
	f.arrived = sync.NewCond(&f.mu)
	client.KV = f
	return f
}

// Settle waits until nothing is on its way. Others may follow.
func (f *Flaky) Settle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.late > 0 {
		f.arrived.Wait()
	}
}

// Heal ends the faults, and settles.
func (f *Flaky) Heal() {
	f.mu.Lock()
	f.percent = 0
	f.mu.Unlock()
	f.Settle()
}

func (f *Flaky) Txn(ctx context.Context) clientv3.Txn {
	return Around(f.KV.Txn(context.WithoutCancel(ctx)), f.commit)
}

func (f *Flaky) commit(txn clientv3.Txn) (*clientv3.TxnResponse, error) {
	const healthy, lostAnswer, late, lostRequest = 0, 1, 2, 3
	switch f.draw(late) {
	case healthy:
		return txn.Commit()
	case lostAnswer:
		_, _ = txn.Commit()
	case late:
		time.AfterFunc(rand.N(latest), func() {
			_, _ = txn.Commit()
			f.mu.Lock()
			defer f.mu.Unlock()
			f.late--
			f.arrived.Broadcast()
		})
	}
	return nil, status.Error(codes.Unavailable, "the connection broke")
}

// draw is what becomes of a transaction: 0 nothing, or one of three faults. One that will be late is counted.
func (f *Flaky) draw(late int) (fate int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if rand.IntN(100) < f.percent {
		fate = 1 + rand.IntN(3)
	}
	if fate == late {
		f.late++
	}
	return fate
}
