package cli

import (
	"github.com/spf13/pflag"
)

type connection struct{}

func (c *connection) addFlags(flags *pflag.FlagSet) {}
