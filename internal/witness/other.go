//go:build !linux

package witness

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"
)

// Supported says whether this system has what a witness needs.
const Supported = false

var errUnsupported = errors.New("witness: this system has no pidfd")

// Page is the session's side of it.
type Page struct{}

// Children does nothing here.
func (*Page) Children(int) error { return nil }

// Until does nothing here.
func (*Page) Until(time.Duration) error { return nil }

// Teller tells nobody here.
type Teller struct{}

// NewTeller returns an error here.
func NewTeller(string, string, string, *slog.Logger) (*Teller, error) { return nil, errUnsupported }

// Page is nobody's here.
func (*Teller) Page() *Page { return &Page{} }

// Add does nothing here.
func (*Teller) Add(string, time.Duration) {}

// Remove does nothing here.
func (*Teller) Remove(string) {}

// Group does nothing here.
func (*Teller) Group(int, bool) error { return nil }

// Run does nothing here.
func (*Teller) Run(context.Context) {}

// Server serves nobody here.
type Server struct {
	Cluster Cluster
	Log     *slog.Logger
	Orphans func() Orphans
}

// Listen returns an error here.
func Listen(string) (*net.UnixListener, error) { return nil, errUnsupported }

// Serve returns an error here.
func (*Server) Serve(context.Context, *net.UnixListener) error { return errUnsupported }

// Settle does nothing here.
func (*Server) Settle() {}
