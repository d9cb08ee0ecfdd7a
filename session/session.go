package session

import (
	"context"
	"errors"
	"log/slog"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

var (
	ErrClosed      = errors.New("session: closed")
	ErrLost        = errors.New("session: hold lost")
	ErrExpired     = ErrLost
	ErrRevoked     = ErrLost
	ErrEntryGone   = ErrLost
	ErrInvalidName = errors.New("session: invalid name")
	ErrInvalidTTL  = errors.New("session: invalid TTL")
	ErrNotHeld     = errors.New("session: not held")
)

type options struct{}
type Option func(*options)

func WithTTL(ttl time.Duration) Option           { panic("later") }
func WithNamespace(prefix string) Option         { panic("later") }
func WithName(name string) Option                { panic("later") }
func WithLabels(labels map[string]string) Option { panic("later") }
func WithLogger(l *slog.Logger) Option           { panic("later") }
func WithTrace(t *Trace) Option                  { panic("later") }

func Open(ctx context.Context, client *clientv3.Client, opts ...Option) (*Session, error) {
	panic("later")
}

type Session struct{}
type State int

const (
	Live State = iota
	Suspect
	Down
	Closed
)

func (s *Session) Client() *clientv3.Client        { panic("later") }
func (s *Session) Context() context.Context        { panic("later") }
func (s *Session) State() State                    { panic("later") }
func (s *Session) Lease() clientv3.LeaseID         { panic("later") }
func (s *Session) Deadline() time.Time             { panic("later") }
func (s *Session) Healthy() error                  { panic("later") }
func (s *Session) Close(ctx context.Context) error { panic("later") }

type Trace struct {
	StateChanged func(from, to State, cause error)
	Queued       func(kind, name string, ahead int)
	Granted      func(kind, name string, waited time.Duration)
	Released     func(kind, name string, held time.Duration)
	Lost         func(kind, name string, cause error)
}
