package since

import (
	"context"
	"fmt"
	"sync"

	"github.com/fenceline/fenceline/internal/chance"
)

// ownerKey is for whom something is acquired: who waits for one name while another is held for the same owner waits with both.
type ownerKey struct{}

// WithOwner is ctx for what is acquired for owner.
func WithOwner(ctx context.Context, owner string) context.Context {
	return context.WithValue(ctx, ownerKey{}, owner)
}

// unnamed is an owner that gets a name when somebody asks for it.
type unnamed struct {
	once sync.Once
	name string
}

func (u *unnamed) String() string {
	u.once.Do(func() { u.name = fmt.Sprintf("%s%016x", Unnamed, chance.Uint64()) })
	return u.name
}

// Unnamed begins what such owners are called, which means nothing to people.
const Unnamed = "~"

// Owned is ctx with an owner: of its own, if it has none.
func Owned(ctx context.Context) context.Context {
	if ctx.Value(ownerKey{}) != nil {
		return ctx
	}
	return context.WithValue(ctx, ownerKey{}, &unnamed{})
}

// OwnerOf is the owner that ctx has; empty: none.
func OwnerOf(ctx context.Context) string {
	switch owner := ctx.Value(ownerKey{}).(type) {
	case string:
		return owner
	case *unnamed:
		return owner.String()
	}
	return ""
}
