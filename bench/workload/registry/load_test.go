package registry

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

// forgetful deletes what others registered, now and then.
type forgetful struct{ bench.Subject }

func (f forgetful) Join(ctx context.Context, p bench.Place) (bench.Contender, error) {
	c, err := f.Subject.Join(ctx, p)
	if err != nil {
		return nil, err
	}
	return forgetfulContender{c.(*contender), p}, nil
}

type forgetfulContender struct {
	*contender
	place bench.Place
}

func (c forgetfulContender) Locker(ctx context.Context, names []string) (bench.Locker, error) {
	l, err := c.contender.Locker(ctx, names)
	if err != nil {
		return nil, err
	}
	return forgetfulLocker{l.(*locker), c.place}, nil
}

type forgetfulLocker struct {
	*locker
	place bench.Place
}

// Lock loses what it has registered once it has been seen.
func (l forgetfulLocker) Lock(ctx context.Context, t *bench.Turn) error {
	if err := l.locker.Lock(ctx, t); err != nil {
		return err
	}
	_, err := l.client.Delete(ctx, l.place.Prefix+"services/", clientv3.WithPrefix())
	for err == nil && l.view.flapped() == 0 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	return err
}

func TestRegistryThatLosesARegistrationFailsTheRun(t *testing.T) {
	cfg := bench.Defaults()
	cfg.Etcd = clientv3.Config{Endpoints: []string{etcdtest.Shared(t).Endpoint()}, Logger: zap.NewNop()}
	cfg.Subjects = []bench.Subject{forgetful{joiner("etcd")}}
	cfg.Rounds, cfg.WarmUp, cfg.Duration = 1, 10*time.Millisecond, 300*time.Millisecond
	cfg.Cells = []bench.Cell{{Contenders: 1, Goroutines: 1, Load: Load{}}}
	_, err := bench.Run(t.Context(), cfg)
	var unsafe *bench.SafetyError
	if !errors.As(err, &unsafe) || unsafe.Flaps == 0 {
		t.Errorf("got %v, want a SafetyError", err)
	}
}
