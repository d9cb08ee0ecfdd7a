package watch_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// wantKeys compares what a watch was told.
func wantKeys(t *testing.T, h *seen, want string) {
	t.Helper()
	if got := h.keys(); got != want {
		t.Errorf("told %q, want %q", got, want)
	}
}

func TestServerThatGivesIDsOfItsOwnReachesTheRightWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, srv := played(t)
		var h [3]seen
		var stop [3]func()
		for i := range h {
			stop[i] = s.Watch(fmt.Sprint(i), "", &h[i])
		}
		c := <-srv.opened
		for i := range h { // one question at a time, since only that tells whose the answer is
			c.create(t, fmt.Sprint(i))
			synctest.Wait()
			if n := len(c.requests); n != 0 {
				t.Fatalf("%d more requests before the answer", n)
			}
			c.created(int64(i), 10)
		}
		synctest.Wait()
		for i := range h {
			c.event(int64(i), fmt.Sprint("k", i), 11)
		}
		synctest.Wait()
		for i := range h {
			wantKeys(t, &h[i], fmt.Sprintf("put:k%d ", i))
		}
		stop[1]()
		if id := c.cancel(t); id != 1 {
			t.Errorf("cancelled %d, want 1", id)
		}
		c.event(1, "late", 12)
		c.event(2, "on", 12)
		synctest.Wait()
		wantKeys(t, &h[1], "put:k1 ")
		wantKeys(t, &h[2], "put:k2 put:on ")
	})
}

func TestServerThatTakesOurIDsMayAnswerInAnyOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, srv := played(t)
		var first, a, b seen
		s.Watch("first", "", &first)
		c := <-srv.opened
		c.created(c.create(t, "first").WatchId, 10)
		synctest.Wait()
		s.Watch("a", "", &a)
		s.Watch("b", "", &b)
		idA, idB := c.create(t, "a").WatchId, c.create(t, "b").WatchId
		c.created(idB, 12)
		c.created(idA, 11)
		c.event(idA, "ka", 13)
		c.event(idB, "kb", 13)
		synctest.Wait()
		wantKeys(t, &a, "put:ka ")
		wantKeys(t, &b, "put:kb ")
		if a.created != 11 || b.created != 12 {
			t.Errorf("created at %d and %d", a.created, b.created)
		}
	})
}

// A refusal does not say whom it refuses.
func TestRefusalEndsTheOneThatIsNotCreated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, srv := played(t)
		var first, a, b, later seen
		s.Watch("first", "", &first)
		c := <-srv.opened
		c.created(c.create(t, "first").WatchId, 10)
		synctest.Wait()
		s.Watch("a", "", &a)
		s.Watch("b", "", &b)
		idA, _ := c.create(t, "a").WatchId, c.create(t, "b")
		c.refused(rpctypes.ErrGRPCPermissionDenied.Error())
		synctest.Wait()
		if a.end() != nil || b.end() != nil {
			t.Error("ended before it is known which")
		}
		s.Watch("later", "", &later)
		synctest.Wait()
		if len(c.requests) > 0 {
			t.Error("another question while it is not known which one was refused")
		}
		c.created(idA, 11)
		synctest.Wait()
		if !errors.Is(b.end(), rpctypes.ErrPermissionDenied) || a.end() != nil || !a.isCreated() {
			t.Errorf("a ended with %v, b with %v", a.end(), b.end())
		}
		c.created(c.create(t, "later").WatchId, 12)
		synctest.Wait()
		if !later.isCreated() {
			t.Error("the next one is not created")
		}
	})
}

func TestWatchThatWasCancelledBeforeItsAnswerIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, srv := played(t)
		var h seen
		stop := s.Watch("k", "", &h)
		c := <-srv.opened
		c.create(t, "k")
		stop()
		c.created(7, 10)
		if id := c.cancel(t); id != 7 {
			t.Errorf("cancelled %d, want 7", id)
		}
		if h.isCreated() {
			t.Error("told after its cancel")
		}
	})
}

func TestStreamThatLeavesAQuestionUnansweredEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, srv := played(t)
		var h seen
		s.Watch("k", "", &h)
		c := <-srv.opened
		c.created(c.create(t, "k").WatchId, 10)
		start := time.Now()
		for range 3 { // silent, but there
			id := c.create(t, "probe").WatchId
			c.created(id, 10)
			if got := c.cancel(t); got != id {
				t.Errorf("cancelled %d, want the probe", got)
			}
		}
		if quiet := time.Since(start); quiet < 15*time.Second {
			t.Errorf("three questions in %v", quiet)
		}
		c.create(t, "probe")
		asked := time.Now()
		<-c.ctx.Done()
		synctest.Wait()
		if h.end() == nil || time.Since(asked) > 4*time.Second {
			t.Errorf("ended with %v after %v", h.end(), time.Since(asked))
		}
	})
}

// listening is a handler that is told of silence.
type listening struct {
	seen
	silent chan struct{}
}

func (l *listening) Silent() { l.silent <- struct{}{} }

func TestSilenceIsTrustedForTwoSecondsAndNotLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, srv := played(t)
		h := &listening{silent: make(chan struct{}, 1)}
		if s.Alive() {
			t.Error("trusted before there is a stream")
		}
		s.Watch("k", "", h)
		c := <-srv.opened
		if s.Alive() {
			t.Error("trusted before anything was heard")
		}
		c.created(c.create(t, "k").WatchId, 10)
		synctest.Wait()
		defer s.Rely()()
		for range 5 {
			c.created(c.create(t, "probe").WatchId, 10)
			c.cancel(t)
			if !s.Alive() {
				t.Error("not trusted though it answers")
			}
		}
		heard := time.Now()
		c.create(t, "probe") // and no answer
		<-h.silent
		if quiet := time.Since(heard); quiet < time.Second || quiet > 3*time.Second {
			t.Errorf("told of silence after %v", quiet)
		}
		if s.Alive() {
			t.Error("trusted in silence")
		}
	})
}
