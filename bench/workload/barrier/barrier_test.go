package barrier_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/workload/barrier"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func config(t *testing.T, parties int, subjects ...bench.Subject) bench.Config {
	cfg := bench.Defaults()
	cfg.Etcd = clientv3.Config{Endpoints: []string{etcdtest.Shared(t).Endpoint()}, Logger: zap.NewNop()}
	cfg.Subjects, cfg.Rounds, cfg.WarmUp, cfg.Duration = subjects, 1, 10*time.Millisecond, 300*time.Millisecond
	cfg.Cells = []bench.Cell{{Contenders: parties, Goroutines: 1, Load: barrier.Load{Parties: parties}}}
	return cfg
}

// careless lets everybody through after a while, whoever has come.
type careless struct{}

func (careless) Name() string                                                 { return "careless" }
func (c careless) Join(context.Context, bench.Place) (bench.Contender, error) { return c, nil }
func (c careless) Locker(context.Context, []string) (bench.Locker, error)     { return c, nil }
func (careless) Close(context.Context) error                                  { return nil }
func (careless) Unlock(context.Context) error                                 { return nil }
func (careless) Lock(context.Context, *bench.Turn) error {
	time.Sleep(time.Millisecond) // as long as etcd takes, and longer than goroutines take to begin
	return nil
}

func TestBarrierThatDoesNotHoldBackFailsTheRun(t *testing.T) {
	_, err := bench.Run(t.Context(), config(t, 3, careless{}))
	var unsafe *bench.SafetyError
	if !errors.As(err, &unsafe) || unsafe.Early == 0 {
		t.Errorf("got %v, want a SafetyError", err)
	}
}

func TestHandOverIsFromWhenTheLastPartyComes(t *testing.T) {
	r := barrier.Load{Parties: 2}.Referee(bench.Cell{}).(bench.Comer)
	draw := rand.New(rand.NewPCG(1, 1))
	var a, b bench.Turn
	for round := range int64(6) { // more than there are slots
		at := 1000 * (round + 1)
		r.Next(draw, &a)
		r.Come(&a, at)
		r.Next(draw, &b)
		r.Come(&b, at+50)
		if first, second := r.Enter(&a, nil), r.Enter(&b, nil); first != at+50 || second != at+50 {
			t.Errorf("round %d: the last came at %d and %d, want %d", round, first, second, at+50)
		}
		r.Leave(&a, at+60)
		r.Leave(&b, at+60)
	}
	if s := r.Safety(); s != (bench.Safety{}) {
		t.Errorf("a good barrier: %+v", s)
	}
}

func TestOneWhoIsThroughAlreadyIsCounted(t *testing.T) {
	r := barrier.Load{Parties: 2}.Referee(bench.Cell{}).(bench.Comer)
	var a bench.Turn
	r.Next(nil, &a)
	r.Come(&a, 1)
	r.Enter(&a, nil)
	if s := r.Safety(); s.Early != 1 {
		t.Errorf("got %+v", s)
	}
}
