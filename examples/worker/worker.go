// Package worker drains a queue while it holds a lock, and its test needs no etcd: see worker_test.go.
package worker

import (
	"context"
	"errors"

	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// Drain does jobs one after the other, as the only one of all processes. When the lock is lost it stops at once, waits for it again, and
// goes on with the job that it has not done.
func Drain(ctx context.Context, s *session.Session, jobs []string, do func(ctx context.Context, job string) error) error {
	m := lock.New(s, "queue")
	for next := 0; next < len(jobs); {
		err := m.Do(ctx, func(ctx context.Context, _ *lock.Lock) error {
			for next < len(jobs) {
				if err := do(ctx, jobs[next]); err != nil {
					return err
				}
				next++
			}
			return nil
		})
		if err != nil && !errors.Is(err, session.ErrLost) {
			return err
		}
	}
	return nil
}
