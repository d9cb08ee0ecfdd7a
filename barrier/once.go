package barrier

import (
	"context"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
)

// once does a verb that waits for etcd only.
func once(ctx context.Context, k *keeper.Keeper, keys string, f func(context.Context) error) error {
	ctx, cancel := etcd.Bounded(ctx)
	defer cancel()
	ctx, stop := k.WhileOpen(ctx)
	defer stop()
	if k.Context().Err() != nil {
		return k.Closed()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return k.Retry(ctx, ctx, keys, f)
}
