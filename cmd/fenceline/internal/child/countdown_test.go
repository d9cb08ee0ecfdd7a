package child

import (
	"fmt"
	"testing"
	"time"

	"github.com/fenceline/fenceline/session"
)

func TestCountdown(t *testing.T) {
	start := time.Now()
	at := func(d time.Duration) time.Time { return start.Add(d) }
	revoked := fmt.Errorf("lock %q: %w", "x", session.ErrRevoked)
	expired := fmt.Errorf("lock %q: %w", "x", session.ErrExpired)

	type look struct {
		now, deadline time.Duration
		lost          error
		want          demand
	}
	for name, looks := range map[string][]look{
		"renewed in time": {
			{0, 10 * time.Second, nil, nothing},
			{4999 * time.Millisecond, 10 * time.Second, nil, nothing},
			{5 * time.Second, 15 * time.Second, nil, nothing},
		},
		"not renewed": {
			{5 * time.Second, 10 * time.Second, nil, terminate},
			{9899 * time.Millisecond, 10 * time.Second, nil, terminate},
			{9900 * time.Millisecond, 10 * time.Second, nil, kill},
		},
		"renewed after SIGTERM": {
			{5 * time.Second, 10 * time.Second, nil, terminate},
			{6 * time.Second, 20 * time.Second, nil, terminate},
			{10 * time.Second, 20 * time.Second, nil, kill},
		},
		"revoked": {
			{1 * time.Second, 10 * time.Second, revoked, terminate},
			{5999 * time.Millisecond, 0, revoked, terminate},
			{6 * time.Second, 0, revoked, kill},
		},
		"revoked just before the deadline": {
			{9 * time.Second, 10 * time.Second, revoked, terminate},
			{13 * time.Second, 10 * time.Second, revoked, terminate},
		},
		"revoked after SIGTERM": {
			{5 * time.Second, 10 * time.Second, nil, terminate},
			{6 * time.Second, 10 * time.Second, revoked, terminate},
			{10 * time.Second, 10 * time.Second, revoked, kill},
		},
		"expired":                {{1 * time.Second, 10 * time.Second, expired, kill}},
		"woken after the end":    {{time.Hour, 10 * time.Second, nil, kill}},
		"woken within grace":     {{8 * time.Second, 10 * time.Second, nil, terminate}, {9900 * time.Millisecond, 10 * time.Second, nil, kill}},
		"no deadline any more":   {{0, -time.Hour, nil, kill}},
		"wait is never too long": {{0, time.Hour, nil, nothing}},
	} {
		t.Run(name, func(t *testing.T) {
			c := countdown{grace: 5 * time.Second}
			for _, l := range looks {
				got, wait := c.at(at(l.now), at(l.deadline), l.lost)
				if got != l.want || wait <= 0 || wait > lookAgain {
					t.Fatalf("at %v with deadline %v and %v: %v, for %v; want %v", l.now, l.deadline, l.lost, got, wait, l.want)
				}
			}
		})
	}
}

func TestCountdownWithoutGraceOnlyKills(t *testing.T) {
	c, start := countdown{}, time.Now()
	if got, wait := c.at(start, start.Add(200*time.Millisecond), nil); got != nothing || wait != 100*time.Millisecond {
		t.Errorf("before: %v, for %v", got, wait)
	}
	if got, _ := c.at(start.Add(100*time.Millisecond), start.Add(200*time.Millisecond), nil); got != kill {
		t.Errorf("at the end: %v, want kill", got)
	}
}
