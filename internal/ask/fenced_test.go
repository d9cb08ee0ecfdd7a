package ask_test

import (
	"context"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/ask"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// A request that was given up may be on its way for long. With or without space, it must fail from then on.
func TestFencedMakesEarlierRequestsFail(t *testing.T) {
	m := etcdtest.Start(t)
	client, ctx := m.Client(t), t.Context()
	s, err := session.Open(ctx, client)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	k := s.Keeper()
	e := k.Current()
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
		record, _ := ask.RecordOf(e)
		given := clientv3.OpTxn([]clientv3.Cmp{record}, []clientv3.Op{clientv3.OpDelete("k")}, nil) // on its way
		if _, _, err := ask.Fenced(ctx, k, e, []clientv3.Op{clientv3.OpDelete("x")}); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		resp, err := client.Do(ctx, given)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Txn().Succeeded && e.RecordRevision() != 0 {
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
	s, err := session.Open(ctx, client)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	k := s.Keeper()
	e := k.Current()
	write := func() int64 { // as another goroutine does
		resp, err := client.Do(ctx, ask.WriteRecord(k, e))
		if err != nil {
			t.Fatal(err)
		}
		return resp.Put().Header.Revision
	}
	write() // of which we do not know: so the first attempt is refused
	kv := client.KV
	client.KV = overtaken{kv, sync.OnceFunc(func() { e.RecordWritten(write()) })}
	defer func() { client.KV = kv }()
	if _, _, err := ask.Fenced(ctx, k, e, []clientv3.Op{clientv3.OpDelete("x")}); err != nil {
		t.Errorf("Fenced: %v", err)
	}
	record, sent := ask.RecordOf(e)
	write()
	resp, err := kv.Txn(ctx).If(record).Else(clientv3.OpGet(e.Record())).Commit()
	if err != nil {
		t.Fatal(err)
	}
	e.RecordWritten(write())
	if err := ask.CaughtUp(ctx, k, e, sent, (*clientv3.GetResponse)(resp.Responses[0].GetResponseRange())); err != ask.Again {
		t.Errorf("CaughtUp: %v", err)
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
