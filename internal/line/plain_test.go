//go:build !race

package line

const defaultStates = 15_000
