package keeper

import (
	"errors"
	"fmt"
	"time"

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

// BrokenError is an ErrEntryGone of which is known who has deleted the entry, and why.
type BrokenError struct {
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"` // by the clock of whoever did
}

func (e *BrokenError) Error() string {
	return fmt.Sprintf("session: hold broken by %s: %s", e.By, e.Reason)
}

// Unwrap makes it an ErrEntryGone, and so an ErrLost.
func (e *BrokenError) Unwrap() error { return ErrEntryGone }
