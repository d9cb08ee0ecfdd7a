package keeper

import (
	"errors"
	"fmt"
	"testing"
)

func TestLossesAreErrLost(t *testing.T) {
	for _, err := range []error{ErrExpired, ErrRevoked, ErrEntryGone} {
		if !errors.Is(err, ErrLost) || !errors.Is(fmt.Errorf("lock %q: %w", "a", err), ErrLost) {
			t.Errorf("%v is not ErrLost", err)
		}
		for _, other := range []error{ErrExpired, ErrRevoked, ErrEntryGone, ErrClosed, ErrNotHeld} {
			if err != other && errors.Is(err, other) {
				t.Errorf("%v is %v", err, other)
			}
		}
	}
	for _, err := range []error{ErrClosed, ErrNotHeld, ErrInvalidTTL} {
		if errors.Is(err, ErrLost) {
			t.Errorf("%v is ErrLost", err)
		}
	}
}
