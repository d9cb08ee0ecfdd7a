package app

import (
	"errors"
	"math"
	"strconv"
	"time"
)

// Seconds is a flag's value: a number of seconds as flock takes it, 1.5 say, or a duration in Go's words, 1m30s.
type Seconds time.Duration

func (s *Seconds) Type() string { return "seconds" }

func (s Seconds) String() string { return time.Duration(s).String() }

func (s *Seconds) Set(text string) error {
	d, err := time.ParseDuration(text)
	if number, numberErr := strconv.ParseFloat(text, 64); numberErr == nil {
		d, err = time.Duration(number*float64(time.Second)), nil
		if math.IsNaN(number) || math.Abs(number) > math.MaxInt64/float64(time.Second) {
			return errors.New("it is out of range")
		}
	}
	switch {
	case err != nil:
		return errors.New("neither a number of seconds nor a duration such as 1m30s")
	case d < 0:
		return errors.New("it is negative")
	}
	*s = Seconds(d)
	return nil
}
