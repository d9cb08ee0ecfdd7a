//go:build race

package line

const defaultStates = 1_000
