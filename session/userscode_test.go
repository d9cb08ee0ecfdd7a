package session_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// handler is a slog.Handler that does something with each record.
type handler struct{ handle func(slog.Record) }

func (h handler) Enabled(context.Context, slog.Level) bool { return true }
func (h handler) Handle(_ context.Context, r slog.Record) error {
	h.handle(r)
	return nil
}
func (h handler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h handler) WithGroup(string) slog.Handler      { return h }

func TestUsersCodeThatBlocksDelaysNoRenewalAndNoEndOfAHold(t *testing.T) {
	t.Parallel()
	const ttl = 2 * time.Second
	for name, options := range map[string]func(block func()) []session.Option{
		"hook": func(block func()) []session.Option {
			return []session.Option{session.WithTrace(&session.Trace{
				StateChanged: func(session.State, session.State, error) { block() },
				Granted:      func(string, string, time.Duration) { block() },
				Lost:         func(string, string, error) { block() },
			})}
		},
		"logger": func(block func()) []session.Option {
			return []session.Option{session.WithLogger(slog.New(handler{func(slog.Record) { block() }}))}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := etcdtest.Start(t)
			over := make(chan struct{})
			s := open(t, m.Client(t), append(options(func() { <-over }), session.WithTTL(ttl))...)
			defer close(over) // before the Session's Close
			l, err := lock.New(s, "x").Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			lease := s.Lease()
			for range 3 { // it is renewed
				before := s.Deadline()
				eventually(t, "a renewal", func() bool { return s.Deadline().After(before.Add(ttl / 4)) })
			}
			m.Stop(t)
			deadline := l.Deadline()
			<-l.Context().Done()
			if late := time.Since(deadline); late > time.Second {
				t.Errorf("the hold ended %v after its deadline", late)
			}
			m.Continue(t)
			eventually(t, "another lease", func() bool { return s.State() == session.Live && s.Lease() != lease })
		})
	}
}

func TestLoggerMayAskAHold(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	held := make(chan *lock.Lock, 1)
	asked := make(chan struct{}, 1000)
	log := slog.New(handler{func(slog.Record) {
		l := <-held
		held <- l
		l.Deadline()
		asked <- struct{}{}
	}})
	s := open(t, m.Client(t), session.WithLogger(log), session.WithTTL(3*time.Second))
	l, err := lock.New(s, "x").Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	held <- l
	released := make(chan error, 1)
	m.Kill()
	go func() { released <- l.Release(t.Context()) }()
	<-asked
	select {
	case <-l.Context().Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the hold does not end")
	}
	<-released
	m.Restart(t)
}

func TestHookMayCloseTheSession(t *testing.T) {
	t.Parallel()
	client := etcdtest.Shared(t).Client(t)
	closed := make(chan error, 1)
	took := make(chan time.Duration, 1)
	var s *session.Session
	opened := make(chan struct{})
	s, err := session.Open(t.Context(), client, session.WithTrace(&session.Trace{Lost: func(string, string, error) {
		<-opened
		began := time.Now()
		err := s.Close(context.Background())
		took <- time.Since(began)
		select {
		case closed <- err:
		default:
		}
	}}))
	if err != nil {
		t.Fatal(err)
	}
	close(opened)
	if _, err := lock.New(s, etcdtest.Name(t)).Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Revoke(t.Context(), s.Lease()); err != nil {
		t.Fatal(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if d := <-took; d > 2*time.Second {
		t.Errorf("it took %v", d)
	}
}
