package barrier

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/forget"
)

// Errors of Forget, ForgetGate and ForgetLatch.
var (
	// ErrInUse: somebody is in the barrier. Nothing was deleted.
	ErrInUse = errors.New("barrier: in use")
	// ErrUnknown: there is nothing to delete.
	ErrUnknown = errors.New("barrier: nothing is known of it")
)

// ForgetOption is an option of Forget, ForgetGate and ForgetLatch.
type ForgetOption interface{ forget(t *forget.Thing) }

type forgetOption func(*forget.Thing)

func (f forgetOption) forget(t *forget.Thing) { f(t) }

// WithNamespace names what Sessions use that were opened with this namespace, as session.WithNamespace sets it. The default is "fenceline/".
func WithNamespace(prefix string) ForgetOption {
	return forgetOption(func(t *forget.Thing) { t.Namespace = prefix })
}

// Forget deletes what etcd keeps of a barrier that nobody is in: the number of its last round. The next Enter begins with the first round, for
// any number of parties. It needs no Session. ErrInUse, ErrUnknown: nothing was deleted. ctx bounds it, or 5 s when ctx has no deadline; after
// another error it may have been deleted or not.
func Forget(ctx context.Context, client *clientv3.Client, name string, opts ...ForgetOption) error {
	return forgotten(ctx, client, forget.Thing{Kind: "barrier", Name: name, Busy: "in/"}, opts)
}

// ForgetGate deletes what etcd keeps of a gate, that it is closed: so it opens. For the rest it is as Forget; who waits at a gate leaves no
// trace, so it is never in use.
func ForgetGate(ctx context.Context, client *clientv3.Client, name string, opts ...ForgetOption) error {
	return forgotten(ctx, client, forget.Thing{Kind: "gate", Name: name}, opts)
}

// ForgetLatch deletes what etcd keeps of a latch: what was counted, and that it is open. Whoever counts down next makes it anew, from any number.
// For the rest it is as ForgetGate.
func ForgetLatch(ctx context.Context, client *clientv3.Client, name string, opts ...ForgetOption) error {
	return forgotten(ctx, client, forget.Thing{Kind: "latch", Name: name}, opts)
}

func forgotten(ctx context.Context, client *clientv3.Client, t forget.Thing, opts []ForgetOption) error {
	t.Namespace, t.InUse, t.Unknown = "fenceline/", ErrInUse, ErrUnknown
	for _, opt := range opts {
		opt.forget(&t)
	}
	if err := forget.Do(ctx, client, t); err != nil {
		return fmt.Errorf("barrier: forget %s %q: %w", t.Kind, t.Name, err)
	}
	return nil
}
