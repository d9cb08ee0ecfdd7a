package fencetest

import "time"

// clock is Go's, at a rate: virtual in a bubble. The library's own clock goes by the machine's boot time, which no bubble knows.
type clock struct {
	start time.Time
	rate  float64
}

func newClock(rate float64) *clock { return &clock{time.Now(), rate} }

func (c *clock) Elapsed() time.Duration {
	return time.Duration(float64(time.Since(c.start)) * c.rate)
}
