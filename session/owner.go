package session

import (
	"context"

	"github.com/fenceline/fenceline/internal/since"
)

// WithOwner returns a ctx for what is acquired for owner: a request, a job, a user. Whoever waits with it and holds something that was
// acquired with it blocks those who wait for that: package inspect finds deadlocks by owners. The functions of Do and Lead get a ctx with an
// owner of their own, unless the caller's has one. Others see an owner only once it has waited, or held, for a second. It grants nothing: that
// somebody holds for an owner lets nobody else in.
func WithOwner(ctx context.Context, owner string) context.Context {
	return since.WithOwner(ctx, owner)
}
