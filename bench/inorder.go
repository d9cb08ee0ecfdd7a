package bench

import (
	"context"
	"errors"
	"time"

	"github.com/fenceline/fenceline/fence"
)

// Mutual is a lock of one name.
type Mutual interface {
	Lock(ctx context.Context) error
	Unlock(ctx context.Context) error
	// Token is as that of Fenced.
	Token() fence.Token
}

// InOrder makes a Locker of locks, one for each of About.Names: a turn takes its names one by one, in ascending order,
// so that no two turns wait for each other. It excludes everybody else, whatever the turn's mode.
func InOrder(locks []Mutual) Fenced { return &inOrder{locks: locks} }

type inOrder struct {
	locks []Mutual
	held  []int
}

// giveBackTimeout bounds the return of what a failed Lock had taken.
const giveBackTimeout = 5 * time.Second

func (o *inOrder) Lock(ctx context.Context, t *Turn) error {
	for i, n := range t.Names {
		if err := o.locks[n].Lock(ctx); err != nil {
			o.held = t.Names[:i]
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBackTimeout)
			defer cancel()
			return errors.Join(err, o.Unlock(ctx))
		}
	}
	o.held = t.Names
	return nil
}

// Unlock gives all back, the last one first, also after one of them has failed.
func (o *inOrder) Unlock(ctx context.Context) error {
	var failed error
	for i := len(o.held) - 1; i >= 0; i-- {
		if err := o.locks[o.held[i]].Unlock(ctx); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// Token is that of the first name.
func (o *inOrder) Token() fence.Token { return o.locks[o.held[0]].Token() }
