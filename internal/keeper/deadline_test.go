package keeper

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestDeadlineIsEarlyByTheMargin(t *testing.T) {
	for ttl, want := range map[time.Duration]time.Duration{
		2 * time.Second:  1730 * time.Millisecond,
		5 * time.Second:  4700 * time.Millisecond,
		10 * time.Second: 9400 * time.Millisecond,
		15 * time.Second: 14100 * time.Millisecond,
		24 * time.Hour:   24 * time.Hour * 94 / 100,
	} {
		if got := deadline(time.Hour, ttl); got != time.Hour+want {
			t.Errorf("TTL %v: trusted for %v, want %v", ttl, got-time.Hour, want)
		}
	}
}

func TestInvalidTTLNamesItsRule(t *testing.T) {
	for ttl, rule := range map[time.Duration]string{
		0: "under 2s", -time.Second: "under 2s", 1500 * time.Millisecond: "under 2s", 2500 * time.Millisecond: "whole seconds",
		24*time.Hour + time.Second: "over 24h", 48 * time.Hour: "over 24h",
	} {
		if err := CheckTTL(ttl); !errors.Is(err, ErrInvalidTTL) || !strings.Contains(err.Error(), rule) || !strings.Contains(err.Error(), ttl.String()) {
			t.Errorf("CheckTTL(%v) = %v, want %q", ttl, err, rule)
		}
	}
	for _, ttl := range []time.Duration{2 * time.Second, 15 * time.Second, 24 * time.Hour} {
		if err := CheckTTL(ttl); err != nil {
			t.Errorf("CheckTTL(%v) = %v", ttl, err)
		}
	}
}
