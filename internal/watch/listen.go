package watch

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/fenceline/fenceline/internal/chance"
)

// TrustFor is how long the silence of a stream is worth something after a message has come: for so long "nothing was
// told" means that nothing has happened.
const TrustFor = 2 * time.Second

const (
	askSoon     = time.Second     // of silence, while somebody relies on it; then the stream is asked
	askLate     = 5 * time.Second // the same, while nobody does, and up to half as long again; then twice as long each time,
	askRarely   = time.Minute     // and at last so often. That a stream is deaf whose connection lives is rare; of a dead one a renewal tells: see Doubt
	silentAfter = time.Second     // a question has not been answered: those who rely on silence are told
	deafAfter   = 3 * time.Second // a question has not been answered: the stream is ended
)

// Listener is what a Handler may be, too: Silent is called when the stream has left a question unanswered for a second, so
// that its silence means nothing any more.
type Listener interface{ Silent() }

// listener is what the stream knows of its own silence. Times are since it was made.
type listener struct {
	made     time.Time
	messages atomic.Int64 // how many have come
	heard    atomic.Int64 // when the last one came, or the stream was opened
	relied   atomic.Int64 // until when somebody relies on silence who has asked
	relying  atomic.Int64 // how many do until they say otherwise
	rarely   atomic.Bool  // the stream is asked more rarely than at first
	wake     chan struct{}
}

func (l *listener) now() int64 { return int64(time.Since(l.made)) }

func (l *listener) hear() {
	l.messages.Add(1)
	l.heard.Store(max(l.now(), 1))
	if l.rarely.Load() {
		signal(l.wake)
	}
}

// Alive says whether anything was heard within TrustFor. Who asks relies on it: the stream is asked each second from here
// on, for a while, if it is silent.
func (s *Stream) Alive() bool {
	l := &s.listener
	now := l.now()
	if until := now + int64(TrustFor); until-l.relied.Load() > int64(askSoon/4) {
		l.relied.Store(until)
	}
	heard := l.heard.Load()
	if now-heard > int64(askSoon) {
		signal(l.wake)
	}
	return heard != 0 && now-heard < int64(TrustFor)
}

// Rely has the stream asked each second if it is silent, until stop is called.
func (s *Stream) Rely() (stop func()) {
	s.listener.relying.Add(1)
	signal(s.listener.wake)
	return func() { s.listener.relying.Add(-1) }
}

// Heard is how many messages have come so far.
func (s *Stream) Heard() int64 { return s.listener.messages.Load() }

var errDeaf = errors.New("watch: the stream is silent, and does not answer")

// listen looks at the silence of an open stream, until ctx ends.
func (s *Stream) listen(ctx context.Context) {
	l := &s.listener
	opened := l.now()
	first := askLate + chance.N(askLate/2)
	late := first
	var asked int64 // how many messages there were when it was asked last
	told := false   // that it is silent
	t := time.NewTimer(late)
	defer t.Stop()
	for {
		now := l.now()
		last := max(l.heard.Load(), opened)
		if l.messages.Load()-asked > answersOfPing { // others have come than those to the last question
			late = first
		}
		l.rarely.Store(late > first)
		limit := late
		if l.relying.Load() > 0 || l.relied.Load() > now {
			limit = askSoon
		}
		var wait time.Duration
		if since, asking := s.asking(); asking {
			unanswered := time.Duration(now - max(last, since))
			switch {
			case unanswered >= deafAfter:
				s.endWith(errDeaf)
				return
			case unanswered < silentAfter:
				told = false
			case !told:
				told = true
				s.sayIsSilent()
			}
			wait = silentAfter / 2
		} else if quiet := time.Duration(now - last); quiet >= limit {
			if asked > 0 && limit != askSoon {
				late = min(2*late, askRarely)
			}
			asked = l.messages.Load()
			s.Ping()
			wait = silentAfter / 2
		} else {
			wait = limit - quiet
		}
		t.Reset(wait)
		select {
		case <-t.C:
		case <-l.wake:
		case <-ctx.Done():
			return
		}
	}
}

// asking says whether a question is open, and since when one has been.
func (s *Stream) asking() (since int64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since, len(s.asked) > 0 || len(s.pending) > 0
}

// answersOfPing is how many messages one brings: that the watch is there, and that it is no more.
const answersOfPing = 2

// Doubt has the stream asked now: something else has gone unanswered that went the same way.
func (s *Stream) Doubt() {
	if _, asking := s.asking(); !asking {
		s.Ping()
		signal(s.listener.wake)
	}
}

// Ping asks a question: a watch that is given up as soon as it is answered.
func (s *Stream) Ping() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ask(&watched{req: request(s.probeKey, ""), probe: true})
}

func (s *Stream) sayIsSilent() {
	s.mu.Lock()
	var listeners []Listener
	for w := range s.watches {
		if h, ok := w.Handler.(Listener); ok {
			listeners = append(listeners, h)
		}
	}
	s.mu.Unlock()
	for _, h := range listeners {
		h.Silent()
	}
}
