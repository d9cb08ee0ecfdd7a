package elect

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/session"
)

// spec is the first line that a candidate's process reads.
type spec struct {
	Subject            string
	Prefix             string
	TTL                time.Duration
	Username, Password string
}

// What a candidate says, with the time in nanoseconds, and what it is told.
const (
	leads    = "leads"    // when Campaign returned
	resigned = "resigned" // when Resign was called; said once it has returned
	resign   = "resign"
)

const closeTimeout = 5 * time.Second

// Serve is the process of one candidate: it campaigns, resigns when it is told to on in, and campaigns again, until in
// ends or ctx does. etcd has no user: that comes with the first line.
func Serve(ctx context.Context, etcd clientv3.Config, in io.Reader, out io.Writer) (err error) {
	lines := bufio.NewScanner(in)
	if !lines.Scan() {
		return errors.Join(errors.New("bench: nobody says what to stand for"), lines.Err())
	}
	var s spec
	if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
		return fmt.Errorf("bench: what to stand for: %w", err)
	}
	etcd.Username, etcd.Password = s.Username, s.Password
	subjects, err := Subjects.ByName(s.Subject)
	if err != nil {
		return err
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	told := make(chan struct{})
	go func() { // ends with the process: nothing else ends a read
		defer cancel()
		for lines.Scan() && lines.Text() == resign {
			select {
			case told <- struct{}{}:
			case <-ctx.Done():
			}
		}
	}()
	contender, err := subjects[0].Join(ctx, bench.Place{Etcd: etcd, Prefix: s.Prefix, TTL: s.TTL})
	if err != nil {
		return err
	}
	defer func() {
		bounded, done := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer done()
		err = errors.Join(err, contender.Close(bounded))
	}()
	err = stand(ctx, contender, told, out)
	if ctx.Err() != nil { // it was to end
		return nil
	}
	return err
}

func stand(ctx context.Context, contender bench.Contender, told <-chan struct{}, out io.Writer) error {
	locker, err := contender.Locker(ctx, []string{name})
	if err != nil {
		return err
	}
	say := func(what string, at time.Time) error {
		_, err := fmt.Fprintf(out, "%s %d\n", what, at.UnixNano())
		return err
	}
	for {
		if err := locker.Lock(ctx, &bench.Turn{}); err != nil {
			return fmt.Errorf("bench: campaign: %w", err)
		}
		if err := say(leads, time.Now()); err != nil {
			return err
		}
		select {
		case <-told:
		case <-ctx.Done():
			return ctx.Err()
		}
		called := time.Now()
		if err := locker.Unlock(ctx); err != nil && !errors.Is(err, session.ErrLost) { // the next one led before: it will be seen
			return fmt.Errorf("bench: resign: %w", err)
		}
		if err := say(resigned, called); err != nil {
			return err
		}
	}
}
