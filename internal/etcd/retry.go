package etcd

import (
	"context"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// Again is the error of an attempt that failed for a reason which is known by now: the same request may be sent again at once.
var Again = errors.New("etcd: again")

// Settled makes an error that no repetition changes, and that needs no explanation.
func Settled(err error) error { return settled{err} }

type settled struct{ error }

func (e settled) Unwrap() error { return e.error }

// AsSettled is what Settled was given, if err is of it.
func AsSettled(err error) (error, bool) {
	var s settled
	if errors.As(err, &s) {
		return s.error, true
	}
	return nil, false
}

// Retry repeats a request.
type Retry struct {
	Client  *clientv3.Client
	Backoff Backoff
	// Within bounds the answer to an attempt before which so many failed.
	Within func(failed int) time.Duration
	// Reach bounds attempts that are under way when Do's ctx ends; nil: Do's ctx.
	Reach context.Context
	// Done ends Do before the next attempt; nil: nothing does.
	Done <-chan struct{}
	// Hopeless says that no repetition helps; nil: Final. What is Settled always is.
	Hopeless func(error) bool
	// Failed is told of each attempt that failed, and is repeated; nil: nobody is.
	Failed func(error)
}

// Do repeats f until it returns nil, or an error that is hopeless, or ctx ends. It returns the last error of f; one from before ctx cut an
// attempt short says more.
func (r Retry) Do(ctx context.Context, f func(ctx context.Context) error) error {
	reach := r.Reach
	if reach == nil {
		reach = ctx
	}
	var last error
	for failed := 0; ; {
		err := r.attempt(reach, failed, f)
		if err == nil || r.hopeless(err) {
			return err
		}
		if last == nil || reach.Err() == nil {
			last = err
		}
		if reach.Err() != nil {
			return last
		}
		if errors.Is(err, Again) && ctx.Err() == nil {
			continue
		}
		failed++
		if r.Failed != nil {
			r.Failed(err)
		}
		if !SleepUnless(ctx, r.Backoff.Wait(failed), r.Done) {
			return last
		}
	}
}

func (r Retry) attempt(ctx context.Context, failed int, f func(context.Context) error) error {
	if Closed(r.Client) {
		return grpc.ErrClientConnClosing
	}
	ctx, cancel := context.WithTimeout(ctx, r.Within(failed))
	defer cancel()
	return f(ctx)
}

func (r Retry) hopeless(err error) bool {
	if _, ok := AsSettled(err); ok {
		return true
	}
	if r.Hopeless == nil {
		return Final(err)
	}
	return r.Hopeless(err)
}

// Patience is the bound of a request of which so many have failed before, from first on. The first may have met an endpoint that swallows
// requests, and so may the second; then answers are slow, or the way to here is, and they are waited for longer and longer.
func Patience(first time.Duration, failed int) time.Duration {
	return first << min(max(failed-2, 0), 5)
}

// AnswerWithin is how long a verb that only waits for etcd waits when its caller has set no deadline.
const AnswerWithin = 5 * time.Second

// Bounded gives a ctx without a deadline one, after AnswerWithin.
func Bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, AnswerWithin)
}
