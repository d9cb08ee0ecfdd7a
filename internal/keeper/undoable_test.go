package keeper_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// A request that was given up may be on its way for long. With or without space, it must fail from then on.
func TestUndoneWriteTakesNoEffectLater(t *testing.T) {
	m := etcdtest.Start(t)
	client, ctx := m.Client(t), t.Context()
	s := open(t, client)
	e := keeper.Of(s).Current()
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"with space", func() {}},
		{"without", func() { m.NoSpace(t) }},
		{"without, again", func() {}},
		{"with space again", func() { m.Space(t) }},
	} {
		step.do()
		u := keeper.Undoable{Epoch: e}
		var late func() (*clientv3.TxnResponse, error)
		kv := client.KV
		client.KV = answersLost{kv, func(send func() (*clientv3.TxnResponse, error)) { late = send }}
		_, err := u.Commit(ctx, keeper.Attempt{Then: []clientv3.Op{clientv3.OpDelete("k")}})
		client.KV = kv
		if !errors.Is(err, errLost) || !u.Unknown() {
			t.Fatalf("%s: %v, unknown %v", step.name, err, u.Unknown())
		}
		if _, _, err := u.Undo(ctx, clientv3.OpDelete("x")); err != nil || u.Unknown() {
			t.Fatalf("%s: %v, unknown %v", step.name, err, u.Unknown())
		}
		resp, err := late()
		if err != nil {
			t.Fatal(err)
		}
		if resp.Succeeded {
			t.Errorf("%s: a request that was given up has taken effect", step.name)
		}
	}
	l, err := lock.New(s, "x").Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Release(ctx); err != nil {
		t.Error(err)
	}
}

// Goroutines of one session write the record and compare it all the time. That an answer shows an earlier one than another goroutine has
// heard of meanwhile is no restore from a backup.
func TestAnswerThatIsOvertakenIsNoRestore(t *testing.T) {
	client, ctx := etcdtest.Shared(t).Client(t), t.Context()
	k := keeper.Of(open(t, client))
	e := k.Current()
	write := func() int64 { // as another goroutine does
		resp, err := client.Put(ctx, e.Record(), k.Record, clientv3.WithLease(e.ID()))
		if err != nil {
			t.Fatal(err)
		}
		return resp.Header.Revision
	}
	write() // of which we do not know: so the first attempt is refused
	kv := client.KV
	client.KV = overtaken{kv, sync.OnceFunc(func() { e.RecordWritten(write()) })}
	defer func() { client.KV = kv }()
	u := keeper.Undoable{Epoch: e}
	u.Doubt()
	if _, _, err := u.Undo(ctx, clientv3.OpDelete("x")); err != nil {
		t.Errorf("Undo: %v", err)
	}
	write()
	client.KV = overtaken{kv, sync.OnceFunc(func() { e.RecordWritten(write()) })}
	resp, err := u.Commit(ctx, keeper.Attempt{})
	if err != nil || resp.Succeeded {
		t.Fatalf("Commit: %+v, %v", resp, err)
	}
	if err := resp.Stale(ctx); err != etcd.Again {
		t.Errorf("Stale: %v", err)
	}
	if err := e.Err(); err != nil {
		t.Error(err)
	}
}

// overtaken has something happen between the first refusal and its answer.
type overtaken struct {
	clientv3.KV
	meanwhile func()
}

func (o overtaken) Txn(ctx context.Context) clientv3.Txn {
	return etcdtest.Around(o.KV.Txn(ctx), func(txn clientv3.Txn) (*clientv3.TxnResponse, error) {
		resp, err := txn.Commit()
		if err == nil && !resp.Succeeded {
			o.meanwhile()
		}
		return resp, err
	})
}

var errLost = errors.New("the answer was lost")

// answersLost has no transaction get through, and keeps how to send it later.
type answersLost struct {
	clientv3.KV
	keep func(send func() (*clientv3.TxnResponse, error))
}

func (a answersLost) Txn(ctx context.Context) clientv3.Txn {
	return etcdtest.Around(a.KV.Txn(ctx), func(txn clientv3.Txn) (*clientv3.TxnResponse, error) {
		a.keep(txn.Commit)
		return nil, errLost
	})
}

func open(t *testing.T, client *clientv3.Client) *session.Session {
	s, err := session.Open(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) }) // its lease ends by itself
	return s
}
