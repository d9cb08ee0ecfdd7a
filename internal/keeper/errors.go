package keeper

import (
	"errors"

	"github.com/fenceline/fenceline/internal/etcd"
)

// The causes of a loss, and the errors of calls. Package session exports them.
var (
	ErrClosed     = etcd.ErrClosed
	ErrLost       = etcd.ErrLost
	ErrExpired    = loss("session: lease not renewed in time")
	ErrRevoked    = loss("session: lease does not exist any more")
	ErrEntryGone  = loss("session: entry deleted or overwritten by somebody else")
	ErrRestored   = loss("session: etcd has gone back to an earlier revision")
	ErrInvalidTTL = errors.New("session: invalid TTL")
	ErrNotHeld    = errors.New("session: not held")
)

// lossError is a kind of ErrLost.
type lossError struct{ text string }

func loss(text string) error           { return &lossError{text} }
func (e *lossError) Error() string     { return e.text }
func (e *lossError) Is(err error) bool { return err == ErrLost }
