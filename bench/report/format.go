package report

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// duration has three significant digits, so that it is at most seven characters wide below a thousand seconds.
func duration(d time.Duration) string {
	switch {
	case d < time.Microsecond:
		return fmt.Sprintf("%dns", d)
	case d < time.Millisecond:
		return digits(float64(d)/1e3) + "µs"
	case d < time.Second:
		return digits(float64(d)/1e6) + "ms"
	default:
		return digits(d.Seconds()) + "s"
	}
}

// digits is x with three significant digits, more when the whole part has more.
func digits(x float64) string {
	switch {
	case x < 9.995:
		return fmt.Sprintf("%.2f", x)
	case x < 99.95:
		return fmt.Sprintf("%.1f", x)
	default:
		return fmt.Sprintf("%.0f", x)
	}
}

func rate(perSecond float64) string {
	switch {
	case perSecond < 1e5:
		return digits(perSecond)
	case perSecond < 1e6:
		return digits(perSecond/1e3) + "k"
	default:
		return digits(perSecond/1e6) + "M"
	}
}

// value has three significant digits, and none after the point that say nothing.
func value(v float64) string {
	if v == math.Trunc(v) && v < 1e6 {
		return fmt.Sprintf("%.0f", v)
	}
	return digits(v)
}

// size is of memory.
func size(bytes float64) string {
	switch {
	case bytes < 1<<10:
		return fmt.Sprintf("%.0f B", bytes)
	case bytes < 1<<20:
		return digits(bytes/(1<<10)) + " KiB"
	}
	return digits(bytes/(1<<20)) + " MiB"
}

func ratio(r float64) string {
	if r == 0 {
		return ""
	}
	return digits(r) + "×"
}

// share is a number per acquisition: 2.00, 0.031, 0 only if there was none.
func share(x float64) string {
	switch {
	case x == 0:
		return "0"
	case x < 0.001:
		return "<.001"
	case x < 0.1:
		return fmt.Sprintf("%.3f", x)
	default:
		return digits(math.Round(x*100) / 100)
	}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %s", n, many(noun))
}

// many is the plural of a noun that is a regular one.
func many(noun string) string {
	if strings.HasSuffix(noun, "s") {
		return noun + "es"
	}
	return noun + "s"
}
