//go:build !linux

package app

// echoOff leaves it to the reading of the password, a moment after the prompt.
func echoOff(int) error { return nil }
