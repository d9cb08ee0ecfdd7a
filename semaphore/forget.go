package semaphore

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/forget"
)

// Errors of Forget.
var (
	// ErrInUse: somebody holds units, or waits. Nothing was deleted.
	ErrInUse = errors.New("semaphore: in use")
	// ErrUnknown: no limit is stored.
	ErrUnknown = errors.New("semaphore: no limit is stored")
)

// ForgetOption is an option of Forget.
type ForgetOption interface{ forget(t *forget.Thing) }

type forgetOption func(*forget.Thing)

func (f forgetOption) forget(t *forget.Thing) { f(t) }

// WithNamespace names the semaphore of Sessions that were opened with this namespace, as session.WithNamespace sets it. The default is
// "fenceline/".
func WithNamespace(prefix string) ForgetOption {
	return forgetOption(func(t *forget.Thing) { t.Namespace = prefix })
}

// Forget deletes the limit of a semaphore that nobody uses: whoever comes next stores a limit anew. It needs no Session. ErrInUse, ErrUnknown:
// nothing was deleted. ctx bounds it, or 5 s when ctx has no deadline; after another error it may have been deleted or not.
func Forget(ctx context.Context, client *clientv3.Client, name string, opts ...ForgetOption) error {
	t := forget.Thing{Namespace: "fenceline/", Kind: "semaphore", Name: name, Busy: lineDir, InUse: ErrInUse, Unknown: ErrUnknown}
	for _, opt := range opts {
		opt.forget(&t)
	}
	if err := forget.Do(ctx, client, t); err != nil {
		return fmt.Errorf("semaphore: forget %q: %w", name, err)
	}
	return nil
}
