//go:build !linux

package app

import "errors"

// SingleKeys is not to be had here: keys need Enter.
func SingleKeys(int) (undo func(), err error) { return nil, errors.ErrUnsupported }
