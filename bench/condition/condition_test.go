package condition

import (
	"context"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func started(t *testing.T, m *etcdtest.Member, c Conditions) *clientv3.Client {
	t.Helper()
	under, stop, err := c.Start(clientv3.Config{Endpoints: []string{m.Endpoint()}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	client, err := clientv3.New(under)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if keys := etcdtest.Keys(t, m.Client(t), ""); len(keys) > 0 {
			t.Errorf("left: %d keys", len(keys))
		}
	})
	return client
}

func TestDelayIsAddedInEachDirection(t *testing.T) {
	client := started(t, etcdtest.Start(t), Conditions{Delay: 50 * time.Millisecond})
	if _, err := client.Get(t.Context(), "x"); err != nil { // connects
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := client.Get(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 100*time.Millisecond || took > 2*time.Second {
		t.Errorf("a read took %v", took)
	}
}

func TestNoiseIsWrittenAtItsRateAndDeletedInTheEnd(t *testing.T) {
	m := etcdtest.Start(t)
	client := started(t, m, Conditions{Noise: 200})
	etcdtest.Eventually(t, 20*time.Second, "400 puts", func() bool {
		resp, err := client.Get(t.Context(), noisePrefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
		return err == nil && resp.Count >= 400
	})
}

func TestHistoryIsCompacted(t *testing.T) {
	client := started(t, etcdtest.Start(t), Conditions{Compact: 20 * time.Millisecond})
	put, err := client.Put(t.Context(), "x", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Delete(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	etcdtest.Eventually(t, 20*time.Second, "a compaction", func() bool {
		_, err := client.Get(context.Background(), "x", clientv3.WithRev(put.Header.Revision))
		return err != nil && strings.Contains(err.Error(), "compacted")
	})
}
