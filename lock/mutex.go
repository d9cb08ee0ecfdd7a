package lock

import (
	"context"
	"errors"
	"time"

	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/session"
	clientv3 "go.etcd.io/etcd/client/v3"
)

var (
	ErrHeld      = errors.New("lock: held")
	ErrQueueFull = errors.New("lock: queue full")
)

type options struct{}
type Option func(*options)

func WithPrefix(prefix string) Option   { panic("later") }
func WithHandoffs(n int) Option         { panic("later") }
func WithLinger(d time.Duration) Option { panic("later") }
func WithMaxWaiters(n int) Option       { panic("later") }

func New(s *session.Session, name string, opts ...Option) *Mutex { panic("later") }

type Mutex struct{}

func (m *Mutex) Acquire(ctx context.Context) (*Lock, error)    { panic("later") }
func (m *Mutex) TryAcquire(ctx context.Context) (*Lock, error) { panic("later") }
func (m *Mutex) Do(ctx context.Context, fn func(ctx context.Context, l *Lock) error) error {
	panic("later")
}

type Lock struct{}

func (l *Lock) Context() context.Context          { panic("later") }
func (l *Lock) Token() fence.Token                { panic("later") }
func (l *Lock) Guard() []clientv3.Cmp             { panic("later") }
func (l *Lock) Deadline() time.Time               { panic("later") }
func (l *Lock) Key() string                       { panic("later") }
func (l *Lock) Release(ctx context.Context) error { panic("later") }
