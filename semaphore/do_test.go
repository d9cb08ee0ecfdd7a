package semaphore_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/semaphore"
	"github.com/fenceline/fenceline/session"
)

func TestDoGivesItsUnitsBackAfterItsFunctionAlsoWhenItPanics(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	m := semaphore.New(open(t, client), name, 2)
	boom := errors.New("boom")
	err := m.Do(t.Context(), 2, func(ctx context.Context, p *semaphore.Permit) error {
		if n := len(lineOf(t, client, name)); n != 1 || p.Units() != 2 || time.Until(p.Deadline()) <= 0 {
			t.Errorf("%d entries, %d units until %v", n, p.Units(), p.Deadline())
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Error(err)
	}
	queued(t, client, name, 0)
	func() {
		defer func() {
			if recover() != "ouch" {
				t.Error("the panic has not gone on")
			}
		}()
		_ = m.Do(t.Context(), 1, func(context.Context, *semaphore.Permit) error { panic("ouch") })
	}()
	queued(t, client, name, 0)
}

func TestDoEndsItsFunctionWithThePermitAndSaysSo(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client)
	err := semaphore.New(s, name, 2).Do(t.Context(), 1, func(ctx context.Context, _ *semaphore.Permit) error {
		if _, err := client.Revoke(t.Context(), s.Lease()); err != nil {
			t.Error(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(10 * time.Second):
			return errors.New("its ctx has not ended")
		}
	})
	if !errors.Is(err, session.ErrRevoked) {
		t.Error(err)
	}
}
