package election_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

// leading runs Lead; entered yields each term, answers ends Lead's function with what it is told.
type leading struct {
	entered chan *election.Term
	ctxs    chan context.Context
	answer  chan error
	over    chan error
}

func lead(ctx context.Context, e *election.Election) *leading {
	l := &leading{make(chan *election.Term, 10), make(chan context.Context, 10), make(chan error), make(chan error, 1)}
	go func() {
		l.over <- e.Lead(ctx, "v", func(ctx context.Context, t *election.Term) error {
			l.entered <- t
			l.ctxs <- ctx
			select {
			case err := <-l.answer:
				return err
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	}()
	return l
}

func (l *leading) term(t *testing.T) (*election.Term, context.Context) {
	t.Helper()
	select {
	case term := <-l.entered:
		return term, <-l.ctxs
	case err := <-l.over:
		t.Fatalf("Lead has ended: %v", err)
	case <-time.After(15 * time.Second):
		t.Fatal("it does not lead")
	}
	return nil, nil
}

func TestLeadResignsAfterItsFunctionHasReturned(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	l := lead(t.Context(), election.New(open(t, client), name))
	term, _ := l.term(t)
	b := campaigning(t, client, name, election.New(open(t, client), name), "b")
	waits(t, "b", b)
	boom := errors.New("boom")
	l.answer <- boom
	if err := <-l.over; !errors.Is(err, boom) {
		t.Errorf("Lead: %v", err)
	}
	if err := term.Resign(t.Context()); !errors.Is(err, session.ErrNotHeld) {
		t.Errorf("not resigned: %v", err)
	}
	resign(t, <-b)
}

func TestLeadEndsItsFunctionWithCtxAndResigns(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	l := lead(ctx, election.New(open(t, client), name))
	l.term(t)
	stop := errors.New("asked to stop")
	cancel(stop)
	if err := <-l.over; !errors.Is(err, stop) {
		t.Errorf("Lead: %v", err)
	}
	stands(t, client, name)

	holder := campaign(t, election.New(open(t, client), name), "a")
	ctx, cancel = context.WithCancelCause(t.Context())
	l = lead(ctx, election.New(open(t, client), name))
	stands(t, client, name, "a", "v")
	cancel(stop)
	if err := <-l.over; !errors.Is(err, stop) {
		t.Errorf("Lead that waits: %v", err)
	}
	stands(t, client, name, "a")
	resign(t, holder)
}

func TestLeadStandsAgainUnderANewLeaseAfterALoss(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client)
	l := lead(t.Context(), election.New(s, name))
	first, inside := l.term(t)
	lease := s.Lease()
	if _, err := client.Revoke(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	<-inside.Done()
	if err := context.Cause(inside); !errors.Is(err, session.ErrRevoked) {
		t.Errorf("cause: %v", err)
	}
	second, _ := l.term(t)
	if second.Token() <= first.Token() || s.Lease() == lease {
		t.Errorf("token %d after %d, lease %x after %x", second.Token(), first.Token(), s.Lease(), lease)
	}
	l.answer <- nil
	if err := <-l.over; err != nil {
		t.Error(err)
	}
}

func TestLeadDoesNotCampaignWhileItsFunctionIgnoresItsCtxAndSaysSo(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	var log bytes.Buffer
	var mu sync.Mutex
	overrun := make(chan string, 1)
	s := open(t, client, session.WithTTL(2*time.Second),
		session.WithLogger(slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return log.Write(p)
		}), nil))),
		session.WithTrace(&session.Trace{Overrun: func(kind, name string, _ time.Duration) { overrun <- kind + " " + name }}))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var terms atomic.Int32
	stubborn := make(chan struct{})
	over := make(chan error, 1)
	go func() {
		over <- election.New(s, name).Lead(ctx, "v", func(ctx context.Context, _ *election.Term) error {
			if terms.Add(1) == 1 {
				<-stubborn
			}
			return nil
		})
	}()
	stands(t, client, name, "v")
	if _, err := client.Revoke(t.Context(), s.Lease()); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-overrun:
		if got != "election "+name {
			t.Errorf("told of %s", got)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nobody was told")
	}
	stands(t, client, name) // it does not campaign
	mu.Lock()
	if !strings.Contains(log.String(), "still runs") {
		t.Errorf("log: %s", log.String())
	}
	mu.Unlock()
	close(stubborn)
	if err := <-over; err != nil || terms.Load() != 2 {
		t.Errorf("Lead: %v, after %d terms", err, terms.Load())
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestLeadStepsDownWhileUnhealthyAndStandsAgain(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	var sick atomic.Bool
	sick.Store(true)
	asked := make(chan struct{}, 100)
	e := election.New(open(t, client, session.WithTTL(2*time.Second)), name, election.WithHealth(func(context.Context) error {
		asked <- struct{}{}
		if sick.Load() {
			return errors.New("a cough")
		}
		return nil
	}))
	l := lead(t.Context(), e)
	<-asked
	<-asked
	stands(t, client, name) // it has not stood
	sick.Store(false)
	for range 2 {
		_, inside := l.term(t)
		sick.Store(true)
		<-inside.Done()
		if err := context.Cause(inside); !errors.Is(err, election.ErrUnhealthy) || !strings.Contains(err.Error(), "a cough") {
			t.Errorf("cause: %v", err)
		}
		stands(t, client, name)
		sick.Store(false)
	}
	l.term(t)
	l.answer <- nil
	if err := <-l.over; err != nil {
		t.Error(err)
	}
}

func TestPanicInLeadResignsAndGoesOn(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	e := election.New(open(t, client), name)
	func() {
		defer func() {
			if recover() != "ouch" {
				t.Error("the panic has not gone on")
			}
		}()
		_ = e.Lead(t.Context(), "v", func(context.Context, *election.Term) error { panic("ouch") })
	}()
	stands(t, client, name)
}

func TestLeadEndsWithItsSession(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s, err := session.Open(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	l := lead(t.Context(), election.New(s, name))
	l.term(t)
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-l.over; !errors.Is(err, session.ErrClosed) {
		t.Errorf("Lead: %v", err)
	}
}
