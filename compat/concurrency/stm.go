package concurrency

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// The STM is that of etcd's package: it needs no session, and nothing of it is changed here.
type (
	// STM is what a transaction reads and writes.
	STM = concurrency.STM
	// Isolation is what a transaction is protected from.
	Isolation = concurrency.Isolation
	// STMOption configures NewSTM: WithIsolation, WithAbortContext, WithPrefetch.
	STMOption = concurrency.STMOption
)

// The levels of isolation, from the strictest.
const (
	SerializableSnapshot = concurrency.SerializableSnapshot // as Serializable, and fails on conflicting writes
	Serializable         = concurrency.Serializable         // all reads are of the revision of the first
	RepeatableReads      = concurrency.RepeatableReads      // a key that is read again has the same value
	ReadCommitted        = concurrency.ReadCommitted        // each read is of what is committed
)

// NewSTM runs apply until it commits without a conflict.
func NewSTM(c *clientv3.Client, apply func(STM) error, opts ...STMOption) (*clientv3.TxnResponse, error) {
	return concurrency.NewSTM(c, apply, opts...)
}

// WithIsolation sets the level. The default is SerializableSnapshot.
func WithIsolation(level Isolation) STMOption { return concurrency.WithIsolation(level) }

// WithAbortContext sets a context whose end aborts the transaction.
func WithAbortContext(ctx context.Context) STMOption { return concurrency.WithAbortContext(ctx) }

// WithPrefetch reads keys in one request before apply runs.
func WithPrefetch(keys ...string) STMOption { return concurrency.WithPrefetch(keys...) }

// NewSTMRepeatable is NewSTM with RepeatableReads.
//
// Deprecated: use NewSTM.
func NewSTMRepeatable(ctx context.Context, c *clientv3.Client, apply func(STM) error) (*clientv3.TxnResponse, error) {
	return NewSTM(c, apply, WithAbortContext(ctx), WithIsolation(RepeatableReads))
}

// NewSTMSerializable is NewSTM with Serializable.
//
// Deprecated: use NewSTM.
func NewSTMSerializable(ctx context.Context, c *clientv3.Client, apply func(STM) error) (*clientv3.TxnResponse, error) {
	return NewSTM(c, apply, WithAbortContext(ctx), WithIsolation(Serializable))
}

// NewSTMReadCommitted is NewSTM with ReadCommitted.
//
// Deprecated: use NewSTM.
func NewSTMReadCommitted(ctx context.Context, c *clientv3.Client, apply func(STM) error) (*clientv3.TxnResponse, error) {
	return NewSTM(c, apply, WithAbortContext(ctx), WithIsolation(ReadCommitted))
}
