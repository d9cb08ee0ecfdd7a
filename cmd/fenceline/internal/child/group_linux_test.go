package child

import "testing"

func TestZombiesDoNotRun(t *testing.T) {
	for stat, want := range map[string]bool{
		"12 (sh) S 1 7 7 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 99 0 0":       true,
		"12 (sh) Z 1 7 7 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 99 0 0":       false,
		"12 (java) Z 1 7 7 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 9 0 99 0 0":     true,
		"12 (sh) S 1 8 8 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 99 0 0":       false,
		"12 (a) Z 1 7 (b) S 1 8 8 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 9 0": false,
		"": false,
	} {
		if got := group(7).hasRunning([]byte(stat)); got != want {
			t.Errorf("%q: %v, want %v", stat, got, want)
		}
	}
}
