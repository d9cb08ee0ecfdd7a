package cli

import (
	"errors"
	"math"
	"strconv"
	"time"
)

// seconds is a flag's value: a number of seconds as flock takes it, 1.5 say, or a duration in Go's words, 1m30s.
type seconds time.Duration

func (s *seconds) Type() string { return "seconds" }

func (s seconds) String() string { return time.Duration(s).String() }

func (s *seconds) Set(text string) error {
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
	*s = seconds(d)
	return nil
}
