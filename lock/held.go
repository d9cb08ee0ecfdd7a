package lock

import (
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/session"
)

// HeldError is a refusal, and says who is in the way.
type HeldError struct {
	Name   string         // of the lock
	Holder session.Holder // its Key is empty if it could not be found out who it is
	Err    error          // wraps ErrHeld or ErrQueueFull

	verb string
}

// Error names the lock and who is in the way.
func (e *HeldError) Error() string {
	text := fmt.Sprintf("lock: %s %q: ", e.verb, e.Name)
	if full := errors.Is(e.Err, ErrQueueFull); full || e.Holder.Key == "" {
		text += e.Err.Error()
		if !full || e.Holder.Key == "" {
			return text
		}
		text += "; "
	}
	text += e.Holder.Describe()
	if h := e.Holder; h.Record.Name != "" && h.Lease != clientv3.NoLease && h.Standing != session.Waits { // else Describe has named it
		text += ", lease " + keyspace.Lease(e.Holder.Lease)
	}
	return text
}

// Unwrap is Err.
func (e *HeldError) Unwrap() error { return e.Err }

// failed is err with the name of the lock. Of a refusal it asks who is in the way; that it cannot be found out changes
// nothing.
func failed(verb, name string, err error, who func() session.Holder) error {
	if !errors.Is(err, ErrHeld) && !errors.Is(err, ErrQueueFull) {
		return fmt.Errorf("lock: %s %q: %w", verb, name, err)
	}
	return &HeldError{Name: name, Holder: who(), Err: err, verb: verb}
}
