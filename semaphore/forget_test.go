package semaphore_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/fenceline/fenceline/fencetest"
	"github.com/fenceline/fenceline/semaphore"
)

func TestForgottenSemaphoreTakesAnotherLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		client := etcd.Client(t)
		p, err := semaphore.New(etcd.Session(t), "x", 3).Acquire(t.Context(), 2)
		if err != nil {
			t.Fatal(err)
		}
		if err := semaphore.Forget(t.Context(), client, "x"); !errors.Is(err, semaphore.ErrInUse) {
			t.Errorf("while units are held: %v", err)
		}
		if err := p.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := semaphore.Forget(t.Context(), client, "x"); err != nil {
			t.Error(err)
		}
		if err := semaphore.Forget(t.Context(), client, "x"); !errors.Is(err, semaphore.ErrUnknown) {
			t.Errorf("once more: %v", err)
		}
		if _, err := semaphore.New(etcd.Session(t), "x", 5).Acquire(t.Context(), 5); err != nil {
			t.Error(err)
		}
	})
}
