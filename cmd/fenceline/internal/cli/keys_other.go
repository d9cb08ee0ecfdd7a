//go:build !linux

package cli

import "errors"

// singleKeys is not to be had here: keys need Enter.
func singleKeys(int) (undo func(), err error) { return nil, errors.ErrUnsupported }
