package worker_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fenceline/fenceline/examples/worker"
	"github.com/fenceline/fenceline/fencetest"
)

func TestJobThatTheLossOfTheLockHasCutShortIsDoneAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		s := etcd.Session(t)
		var begun, done []string
		err := worker.Drain(t.Context(), s, []string{"a", "b", "c"}, func(ctx context.Context, job string) error {
			begun = append(begun, job)
			if len(begun) == 2 {
				etcd.Expire(s.Lease()) // the process was cut off, say
			}
			select {
			case <-time.After(time.Hour):
				done = append(done, job)
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
		if err != nil {
			t.Fatalf("%v\n%s", err, etcd.Transcript())
		}
		if want := []string{"a", "b", "b", "c"}; !slices.Equal(begun, want) {
			t.Errorf("begun: %v, want %v", begun, want)
		}
		if want := []string{"a", "b", "c"}; !slices.Equal(done, want) {
			t.Errorf("done: %v, want %v", done, want)
		}
	})
}
